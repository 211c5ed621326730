space mine(width = 16) {
  input image: [3, 32, 32]
  return choose { conv: conv(width, kernel = k)(image) for k in [3, 5] }
}
