"""A real but tiny `CaptionModel` with random weights, and its vocabulary."""

TINY_WORDS = ["a", "red", "blue", "dog", "cat", "runs", "sits", "on", "the", "grass"]


def build_tiny_model(decoder="lstm(units=12, embedding=10, value_dim=8)", seed=3, words=TINY_WORDS):
    """A real `CaptionModel` on 32x32 images, with random weights: two convolutions and a decoder."""
    import keras

    from captioner.models import CaptionModel
    from captioner.text import Tokenizer

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((32, 32, 3))
    # Random weights say the same of every image unless the features differ a lot.
    x = keras.layers.Rescaling(1 / 64, offset=-2)(pixels)
    x = keras.layers.Conv2D(8, 4, strides=4, activation="relu", kernel_initializer="he_normal")(x)
    grid = keras.layers.Conv2D(12, 2, strides=2, kernel_initializer=keras.initializers.RandomNormal(0, 1))(x)
    model = CaptionModel(keras.Model(pixels, grid), decoder, Tokenizer(words), max_length=7)
    # Nearly even logits would make the order of captions a matter of rounding.
    for variable in model.decoder.weights:
        variable.assign(variable * 2.0)
    return model
