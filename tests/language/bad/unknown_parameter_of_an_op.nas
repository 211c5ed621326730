## A convolution with its friends.
op block(x: [C, H, W], width: int, stride = 1) =
  conv(width, kernel = 3, stride = stride)(x) -> batchnorm -> relu

space mine(width = 16) {
  input image: [3, 32, 32]
  return image -> block(width, strides = 2)
}
