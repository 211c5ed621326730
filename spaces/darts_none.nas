# DARTS with `none` (Liu et al., 2019): every node reads every earlier node, and `none` takes a connection away.
#
# This is what the supernet of DARTS relaxes: in a cell 14 edges with eight candidates each, one row of architecture
# parameters an edge. What DARTS reports at the end, two inputs a node and no `none`, is the space `darts`.
from "lib/cifar.nas" import sep_conv, dil_conv, factorized_reduce, calibrate

space darts_none(width = 16, layers = 8, channels = 3, size = 32, classes = 10) {
  input image: [channels, size, size]

  op edge(stride = 1) =
    | none:         maxpool(1, stride = stride) -> zero  # nothing, of the size that the other candidates have
    | max_pool_3x3: maxpool(3, stride = stride) -> batchnorm
    | avg_pool_3x3: avgpool(3, stride = stride) -> batchnorm
    | skip_connect: if stride == 1 then identity else factorized_reduce
    | sep_conv_3x3: sep_conv(3, stride = stride)
    | sep_conv_5x5: sep_conv(5, stride = stride)
    | dil_conv_3x3: dil_conv(3, stride = stride)
    | dil_conv_5x5: dil_conv(5, stride = stride)

  cell normal(prev, cur: [C, H, W], channels: int) {
    n = [calibrate(prev, channels, H), calibrate(cur, channels, H)]
    for i in 2..5 { n[i] = sum(edge(t) for t in n) }
    return concat(n[2..])
  }

  cell reduction(prev, cur: [C, H, W], channels: int) {
    n = [calibrate(prev, channels, H), calibrate(cur, channels, H)]
    for i in 2..5 { n[i] = sum(edge(n[j], stride = if j < 2 then 2 else 1) for j in 0..i-1) }
    return concat(n[2..])
  }

  cur = image -> conv(3*width, kernel = 3) -> batchnorm
  prev = cur
  for layer in 0..layers-1 {
    if layer in [layers // 3, 2*layers // 3] {
      width = 2*width
      prev, cur = cur, reduction(prev, cur, width)
    } else {
      prev, cur = cur, normal(prev, cur, width)
    }
  }
  return cur -> global_avgpool -> linear(classes)
}
