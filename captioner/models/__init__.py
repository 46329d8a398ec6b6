"""The networks: an encoder that looks once, a decoder that speaks word by word. Written in `keras.ops`."""

from captioner.models.attention import ATTENTIONS
from captioner.models.caption_model import CaptionModel
from captioner.models.cells import CELLS
from captioner.models.decoders import DECODERS
from captioner.models.encoders import ENCODERS

__all__ = ["ATTENTIONS", "CELLS", "DECODERS", "ENCODERS", "CaptionModel"]
