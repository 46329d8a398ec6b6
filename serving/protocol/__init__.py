"""TensorFlow Serving's protocol: tensors, JSON, status codes."""
