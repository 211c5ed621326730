op two(x) { return relu(x), tanh(x) }

space mine {
  input image: [3, 32, 32]
  y = two(image)
  return y -> concat
}
