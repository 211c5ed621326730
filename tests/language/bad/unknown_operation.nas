from "lib/cifar.nas" import sep_conv

space mine(width = 16) {
  input image: [3, 32, 32]
  op edge =
    | skip: identity
    | sep:  sep_cnov(3)
    | pool: maxpool(3)
  return image -> conv(width, kernel = 3) -> edge -> global_avgpool -> linear(10)
}
