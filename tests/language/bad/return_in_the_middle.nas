space mine(width = 16) {
  input image: [3, 32, 32]
  if width > 8 { return image -> relu }
  return image
}
