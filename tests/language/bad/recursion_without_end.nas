op block(depth: int) = conv(kernel = 3) -> block(depth - 1)

space mine {
  input image: [8, 32, 32]
  return image -> block(3)
}
