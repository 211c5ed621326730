space mine {
  input image: [8, 32, 32]
  width = 16 | 24
  depth = 1 | 2
  require width * depth > 24
  require depth == 1
  return image -> conv(width, kernel = 3) -> repeat(relu, depth)
}
