space mine {
  input row: [16]
  shared layer = linear(32)
  y = row -> layer -> relu
  return y -> layer
}
