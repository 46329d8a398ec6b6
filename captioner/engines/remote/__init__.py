"""Engines that request captions from a TensorFlow Serving server, over gRPC or REST."""
