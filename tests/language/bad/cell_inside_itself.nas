cell block(depth: int) = if depth == 0 then relu else conv(kernel = 3) -> block(depth - 1)

space mine {
  input image: [8, 32, 32]
  return image -> block(3)
}
