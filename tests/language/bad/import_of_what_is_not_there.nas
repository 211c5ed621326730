from "lib/cifar.nas" import sep_conv, dil_cnov

space mine {
  input image: [3, 32, 32]
  return image -> sep_conv(3) -> dil_cnov(3)
}
