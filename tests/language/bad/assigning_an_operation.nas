space mine(width = 16) {
  input image: [3, 32, 32]
  block = conv(width, kernel = 3) -> relu
  return image -> block
}
