"""Programs that serve a model: the development server, the benchmark, settings for TensorFlow Serving."""
