space mine(width = 16) {
  input image: [3, 32, 32]
  a = image -> conv(width, kernel = 3)
  b = image -> conv(width, kernel = 3, stride = 2) -> relu
  return a + b
}
