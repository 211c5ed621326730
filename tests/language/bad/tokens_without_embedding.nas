space mine {
  input tokens: int[T]
  return tokens -> layernorm -> linear(10)
}
