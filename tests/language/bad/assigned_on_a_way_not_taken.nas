space mine(width = 16) {
  input image: [3, 32, 32]
  if width > 100 { hidden = 4 }
  return image -> conv(hidden, kernel = 3)
}
