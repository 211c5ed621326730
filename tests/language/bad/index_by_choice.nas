space mine(width = 16) {
  input image: [3, 32, 32]
  n = [image, relu(image)]
  i = 0 | 1
  return n[i] -> conv(width, kernel = 3)
}
