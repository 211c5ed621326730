from "lib/cifra.nas" import sep_conv

space mine {
  input image: [3, 32, 32]
  return image -> sep_conv(3)
}
