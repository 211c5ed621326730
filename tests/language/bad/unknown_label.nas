space mine {
  input image: [8, 32, 32]
  op edge = none: zero | skip: identity
  y = edge(image) + edge(image)
  require count("nnoe") <= 1
  return y
}
