space mine {
  input image: [3, height, 32]
  return image -> conv(8, kernel = 3)
}
