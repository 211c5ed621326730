space mine(width = 16) {
  input image: [3, 32, 32]
  depth = 1 | 2
  y = image -> conv(width, kernel = 3)
  if depth == 2 { y = y -> conv(kernel = 3) }
  return y
}
