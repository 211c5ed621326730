op act = relu
op act = gelu

space mine {
  input image: [3, 32, 32]
  return image -> act
}
