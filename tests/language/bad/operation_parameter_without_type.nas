op residual(x, f = relu) = x + f(x)

space mine {
  input image: [3, 32, 32]
  return image -> residual(conv(kernel = 3))
}
