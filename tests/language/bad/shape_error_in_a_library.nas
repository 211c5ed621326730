from "lib/cifar.nas" import sep_conv

space mine {
  input row: [16]
  return row -> linear(32) -> sep_conv(3)
}
