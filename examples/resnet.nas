# Lifted from the torch module ResNet. Write `a | b` where you want a choice.
op basic_block(x) {
  y = x -> conv(kernel = 3) -> batchnorm -> relu -> conv(kernel = 3) -> batchnorm
  return relu(y + x)
}

op basic_block_shortcut(x: [C, H, W]) {
  y = x
    -> conv(2*C, kernel = 3, stride = 2) -> batchnorm -> relu
    -> conv(kernel = 3) -> batchnorm
  shortcut = x -> conv(2*C, kernel = 1, stride = 2) -> batchnorm
  return relu(y + shortcut)
}

space resnet(classes = 10) {
  input image: [3, 32, 32]
  op block = basic_block_shortcut -> repeat(basic_block, 2)

  return image
    -> conv(16, kernel = 3) -> batchnorm -> relu
    -> repeat(basic_block, 3)
    -> repeat(block, 2)
    -> global_avgpool -> linear(classes)
}
