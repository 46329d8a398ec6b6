"""Engines that ask a TensorFlow Serving server, over gRPC or REST."""
