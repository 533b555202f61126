"""Numbers and messages in bytes, as files of TensorFlow, ONNX and PyTorch have them; nothing about batch norms."""
