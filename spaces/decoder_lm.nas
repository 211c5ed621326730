# A decoder language model: the width of the whole network, its depth, and heads and MLP of every layer are chosen.
#
# There are no positional embeddings, so any number of tokens goes in: under causal attention a model learns positions
# without them (Haviv et al., 2022, arXiv 2203.16634). The embedding is used again, transposed, as the last layer.
space decoder_lm(vocab = 256, layers = 6, head_dim = 32) {
  input tokens: int[T]

  ## A pre-norm transformer layer. Queries, keys and values of a smaller number of heads are slices of the largest.
  op layer(x: [T, D]) {
    heads = 2 | 4 | 6
    ratio = 2 | 3 | 4
    y = x + (x -> layernorm -> attention(heads, head_dim, causal = true))
    return y + (y -> layernorm -> linear(ratio * D) -> gelu -> linear(D))
  }

  width = 128 | 192 | 256
  depth = choose { d for d in layers-2..layers }

  shared words = embedding(vocab, width)
  return tokens -> words -> repeat(layer, depth) -> layernorm -> unembed(words)
}
