"""Networks as files: source code, ONNX and torch programs, each checked against the network."""
