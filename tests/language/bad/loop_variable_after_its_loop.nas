space mine(width = 16) {
  input image: [3, 32, 32]
  for layer in 1..4 { image = image -> conv(width * layer, kernel = 3) }
  return image -> conv(layer, kernel = 1)
}
