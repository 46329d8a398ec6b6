"""Text: normalisation and tokenisation of captions. Standard library only."""

from captioner.text.normalize import words
from captioner.text.tokenizer import Tokenizer

__all__ = ["Tokenizer", "words"]
