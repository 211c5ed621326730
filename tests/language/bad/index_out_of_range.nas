space mine(width = 16) {
  input image: [3, 32, 32]
  n = [image]
  for i in 1..3 { n[i] = relu(n[i - 1]) + n[i] }
  return n[3]
}
