space mine(width = 16) {
  input image: [3, 32, 32]
  y = image -> conv(hidden, kernel = 3)
  hidden = 2 * width
  return y
}
