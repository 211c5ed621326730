op join(a: [C, H, W], b: [C, H, W]) = a + b

space mine {
  input image: [3, 32, 32]
  return join(image, conv(8, kernel = 3)(image))
}
