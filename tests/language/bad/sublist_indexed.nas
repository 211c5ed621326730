space mine {
  input image: [8, 32, 32]
  n = choose 2 of { image, relu(image), tanh(image) }
  return n[0] + n[1]
}
