op head(x: [C, H, W], classes: int) = x -> global_avgpool -> linear(classes)

space mine {
  input image: [3, 32, 32]
  return image -> global_avgpool -> head(10)
}
