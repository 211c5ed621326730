# In the manner of MobileNetV2 (Sandler et al., 2018), for small images: four stages of inverted residual blocks, of
# which depth, kernel and expansion are chosen. Widths and strides are ours; ReLU stands for ReLU6.
#
# Every size follows from the parameters: `--set size=28 --set channels=1` is a space for grey images of 28 x 28.
space mobilenet_small(width = 16, channels = 3, size = 32, classes = 10) {
  input image: [channels, size, size]

  ## Widens, convolves each channel by itself and narrows again; the narrow end has no activation.
  op block(x: [C, H, W], out: int, stride = 1) {
    kernel = 3 | 5
    expand = 3 | 6
    y = x
      -> conv(expand * C, kernel = 1) -> batchnorm -> relu
      -> depthwise(kernel, stride = stride) -> batchnorm -> relu
      -> conv(out, kernel = 1) -> batchnorm
    return if stride == 1 and out == C then x + y else y
  }

  op stage(out: int, stride: int) = block(out, stride = stride) -> repeat(block(out), 0|1|2)

  return image
    -> conv(width, kernel = 3) -> batchnorm -> relu
    -> stage(width, 1) -> stage(2*width, 2) -> stage(4*width, 2) -> stage(8*width, 2)
    -> conv(32*width, kernel = 1) -> batchnorm -> relu
    -> global_avgpool -> dropout(0.2) -> linear(classes)
}
