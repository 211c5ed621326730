# The smallest genotype that breaks it is named.
space mine {
  input image: [3, 32, 32]
  width = 16 | 24 | 32
  other = 16 | 24
  a = image -> conv(width, kernel = 3) -> batchnorm
  b = image -> (plain: conv(other, kernel = 3) | wide: conv(width, kernel = 5))
  return a + b
}
