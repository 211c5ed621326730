space mine {
  input sound: [16, T]
  return sound -> conv(32, kernel = 3) -> linear(10)
}
