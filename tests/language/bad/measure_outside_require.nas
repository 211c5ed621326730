space mine {
  input image: [8, 32, 32]
  return if params > 5M then image else relu(image)
}
