op block(width) = conv(width, kernel = 3) -> relu

space mine {
  input image: [3, 32, 32]
  return image -> block(16)
}
