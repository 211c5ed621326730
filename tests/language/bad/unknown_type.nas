op block(kernel: itn) = conv(kernel = kernel) -> relu

space mine {
  input image: [3, 32, 32]
  return image -> block(3)
}
