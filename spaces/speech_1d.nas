# Spoken words: residual blocks of separable convolutions over time, in the manner of MatchboxNet (Majumdar & Ginsburg,
# 2020). The input is a spectrogram or other features, `channels` numbers for each of T moments; T stays free, so that
# recordings of any length go in. Kernels, depths and widths are ours.
space speech_1d(channels = 64, width = 64, classes = 35) {
  input sound: [channels, T]

  ## Each channel over time by itself, then all channels at each moment.
  op separable(channels: int, kernel: int, stride = 1, dilation = 1) =
    depthwise(kernel, stride = stride, dilation = dilation) -> conv(channels, kernel = 1) -> batchnorm

  ## One kernel for the block, a chosen number of convolutions, and a way around them.
  op block(x: [C, T]) {
    kernel = 9 | 13 | 17
    y = x -> repeat(separable(C, kernel) -> relu -> dropout(0.1), 1|2|3)
    return relu((x -> conv(kernel = 1) -> batchnorm) + y)
  }

  ## How the whole recording becomes one vector.
  op summary = average: global_avgpool | largest: global_maxpool

  return sound
    -> separable(2*width, 11, stride = 2) -> relu
    -> conv(width, kernel = 1) -> batchnorm -> relu
    -> repeat(block, 2|3|4)
    -> separable(2*width, 29, dilation = 2) -> relu
    -> summary -> linear(classes)
}
