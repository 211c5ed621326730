space mine(width = 16) {
  input image: [3, 32, 32]
  y = image -> conv(width, kernel = 3)
  return y -> (keep: relu | pool: global_avgpool) -> batchnorm
}
