space mine(width = 16) {
  input image: [3, 32, 32]
  factor = 0 | 1 | 2
  return image -> conv(width // factor, kernel = 3)
}
