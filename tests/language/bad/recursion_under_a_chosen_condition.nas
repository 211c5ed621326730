op block(x, depth: int, deep: int) = if deep == 1 then relu(x) else block(conv(kernel = 3)(x), depth - 1, deep)

space mine {
  input image: [8, 32, 32]
  return block(image, 3, 1 | 2)
}
