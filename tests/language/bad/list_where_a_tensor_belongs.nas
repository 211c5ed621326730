space mine(width = 16) {
  input image: [3, 32, 32]
  n = [image, relu(image)]
  return n -> conv(width, kernel = 3)
}
