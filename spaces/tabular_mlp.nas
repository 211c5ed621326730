# A multilayer perceptron for the rows of a table: width, depth, the shape of each block and one activation are chosen.
#
# The first batch norm brings every column to mean 0 and variance 1, so the table needs no scaling. Columns of names
# are turned into numbers before (one-hot, say).
from "lib/blocks.nas" import residual

space tabular_mlp(columns = 30, width = 64, classes = 2) {
  input row: [columns]

  ## The same activation everywhere in the network: a `cell` is decided once.
  cell act = relu | gelu | silu

  ## A residual block, wider in the middle. Every block makes its own choices.
  op block(x: [D]) {
    ratio = 1 | 2 | 4
    return x -> residual(batchnorm -> linear(ratio * D) -> act -> regularised -> linear(D))
  }

  op regularised = plain: identity | light: dropout(0.1) | heavy: dropout(0.3)

  hidden = choose { n * width for n in [1, 2, 4] }
  return row
    -> batchnorm -> linear(hidden)
    -> repeat(block, 0|1|2|3|4)
    -> batchnorm -> act -> linear(classes)
}
