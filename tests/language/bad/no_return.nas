op block(x) {
  y = relu(x)
}

space mine {
  input image: [3, 32, 32]
  return image -> block
}
