space mine(width = 16) {
  input image: [3, 32, 32]
  stem = image -> conv(width, kernel = 3)
  op edge(x) = x + stem
  return edge(stem)
}
