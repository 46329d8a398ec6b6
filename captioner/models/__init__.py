"""The networks, in `keras.ops`: an encoder, which runs once an image, and a decoder, which runs once a word."""

from captioner.models.attention import ATTENTIONS
from captioner.models.caption_model import CaptionModel
from captioner.models.cells import CELLS
from captioner.models.decoders import DECODERS
from captioner.models.encoders import ENCODERS

__all__ = ["ATTENTIONS", "CELLS", "DECODERS", "ENCODERS", "CaptionModel"]
