space s {
  input x: [3, 8, 8]
  width = 8 | 16
  return x -> conv(width kernel = 3)
}
