space mine(width = 16) {
  input image: [3, 32, 32]
  width = 12 | 16
  return image -> conv(width, kernel = 1) -> conv(width, kernel = 3, groups = 8)
}
