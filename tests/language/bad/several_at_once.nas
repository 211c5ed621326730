from "lib/cifar.nas" import sep_conv

space mine(width = 16) {
  input image: [3, 32, 32]
  stem = image -> conv(widht, kernel = 3)
  y = stem -> sep_cnov(3) -> relu
  z = image -> maxpool(kernel = 2, strid = 2)
  if width > 64 { z = image -> avgpol(2) }
  return y + z
}
