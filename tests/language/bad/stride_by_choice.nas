space mine(width = 16) {
  input image: [3, 32, 32]
  return image -> conv(width, kernel = 3, stride = 1 | 2)
}
