# GDAS with its fixed reduction cell (Dong & Yang, 2019): the normal cell is searched as in `darts`, and the cell that
# halves height and width is written down, so that half of the choices of DARTS are gone.
#
# After AutoDL-Projects (GDAS_Reduction_Cell, and the layout [N, reduction, N-1, reduction, N-1] with N = 2 normal
# cells). Differences: a node takes two different earlier nodes, as in DARTS, where that code takes the two best pairs
# of node and operation, which may share a node; and `none`, which that code searches with but never reports, is left
# out. `darts_none` has it.
from "lib/cifar.nas" import sep_conv, dil_conv, relu_conv_bn, calibrate

space gdas_frc(width = 16, cells = 2, channels = 3, size = 32, classes = 10) {
  input image: [channels, size, size]

  op edge =
    | max_pool_3x3: maxpool(3) -> batchnorm
    | avg_pool_3x3: avgpool(3) -> batchnorm
    | skip_connect: identity
    | sep_conv_3x3: sep_conv(3)
    | sep_conv_5x5: sep_conv(5)
    | dil_conv_3x3: dil_conv(3)
    | dil_conv_5x5: dil_conv(5)

  cell normal(prev, cur: [C, H, W], channels: int) {
    n = [calibrate(prev, channels, H), calibrate(cur, channels, H)]
    for i in 2..5 { n[i] = sum(choose 2 of { edge(t) for t in n }) }
    return concat(n[2..])
  }

  ## Halves the width of its input, then the height, in eight groups of channels; a 1x1 convolution mixes them.
  op strided(x: [C, H, W]) = x
    -> relu
    -> conv(kernel = [1, 3], stride = [1, 2], groups = 8)
    -> conv(kernel = [3, 1], stride = [2, 1], groups = 8)
    -> batchnorm -> relu_conv_bn(1, C)

  ## Nothing is chosen here: both inputs, each convolved and pooled.
  op reduction(prev, cur: [C, H, W], channels: int) {
    n = [calibrate(prev, channels, H), calibrate(cur, channels, H)]
    convolved = [strided(t) for t in n]
    pooled = [t -> maxpool(3, stride = 2) -> batchnorm for t in n]
    return concat(convolved + pooled)
  }

  cur = image -> conv(3*width, kernel = 3) -> batchnorm
  prev = cur
  for stage in 0..2 {
    if stage > 0 {
      width = 2*width
      prev, cur = cur, reduction(prev, cur, width)
    }
    for i in 1..(if stage == 0 then cells else cells - 1) { prev, cur = cur, normal(prev, cur, width) }
  }
  return cur -> global_avgpool -> linear(classes)
}
