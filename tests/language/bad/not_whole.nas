space mine(width = 16) {
  input image: [3, 32, 32]
  return image -> conv(width / 3, kernel = 3)
}
