"""Images: loading, decoding and preprocessing, the same for every engine."""
