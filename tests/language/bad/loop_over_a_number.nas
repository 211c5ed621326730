space mine(width = 16) {
  input image: [3, 32, 32]
  for i in width { image = relu(image) }
  return image
}
