space mine {
  input image: [8, 32, 32]
  n = [image, relu(image)]
  return concat(choose any of { conv(kernel = 3)(t) for t in n })
}
