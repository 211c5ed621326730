op join(a, b: [C, H, W]) = a + b -> relu

space mine {
  input image: [3, 32, 32]
  return image -> conv(8, kernel = 3) -> join
}
