op rnn(x, h: [D]) = tanh(linear(64)(x) + linear(64)(h))

space mine(hidden = 32) {
  input tokens: int[T]
  return tokens -> embedding(100, 16) -> scan(rnn, state = [hidden])
}
