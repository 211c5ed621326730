space mine(width = 16) {
  input image: [3, 32, 32]
  op edge = relu | identity
  y = edge + edge
  return image -> conv(width, kernel = 3)
}
