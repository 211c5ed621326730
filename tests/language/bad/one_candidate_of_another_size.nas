space s {
  input x: [8, 32, 32]
  op sep =
    | none: zero
    | skip: identity
    | sep3: conv(kernel = 3, stride = 2)
    | sep5: conv(kernel = 5)
  a = sep(x)
  return a + x
}
