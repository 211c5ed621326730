space mine(width = 16) {
  input image: [3, 32, 32]
  n = [image]
  for i in 2..3 { n[i] = relu(image) }
  return n[3]
}
