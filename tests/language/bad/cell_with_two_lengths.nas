cell node(n) = sum(choose 2 of { conv(kernel = 3)(t) for t in n })

space mine {
  input image: [8, 32, 32]
  a = relu(image)
  b = node([image, a, a])
  return node([image, a, b, b])
}
