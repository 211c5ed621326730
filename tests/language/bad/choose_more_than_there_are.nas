space mine(width = 16) {
  input image: [3, 32, 32]
  n = [image, relu(image)]
  return sum(choose 3 of { conv(width, kernel = 3)(t) for t in n })
}
