space mine(width = 16) {
  input image: [3, 32, 32]
  op stage = conv(width, kernel = 3, stride = 2) -> relu
  y = image -> stage
  width = 2 * width
  return y -> stage
}
