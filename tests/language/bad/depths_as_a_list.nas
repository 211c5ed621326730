space mine() {
  input x: [3, 8, 8]
  op f = relu
  return x -> repeat(f, 1..3)
}
