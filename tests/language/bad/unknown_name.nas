space mine(width = 16) {
  input image: [3, 32, 32]
  hidden = 2 * widht
  return image -> conv(hidden, kernel = 3)
}
