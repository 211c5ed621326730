# A plain residual network in the skeleton of NAS-Bench-201 (He et al., 2016): what a searched cell has to be better than.
# It has no choice, so it is a network and not a space.
space residual(width = 16, channels = 1, size = 28, classes = 10) {
  input image: [channels, size, size]

  op block(x: [C, H, W], out = C, stride = 1) {
    y = x
      -> conv(out, kernel = 3, stride = stride) -> batchnorm -> relu
      -> conv(out, kernel = 3) -> batchnorm
    shortcut = if stride == 1 and out == C then x else x -> conv(out, kernel = 1, stride = stride) -> batchnorm
    return relu(y + shortcut)
  }

  return image
    -> conv(width, kernel = 3) -> batchnorm -> relu
    -> block -> block(2*width, stride = 2) -> block -> block(4*width, stride = 2) -> block
    -> global_avgpool -> linear(classes)
}
