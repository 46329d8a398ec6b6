"""Captions as words and as ids: one normalisation rule, one vocabulary. Standard library only."""

from captioner.text.normalize import words
from captioner.text.tokenizer import Tokenizer

__all__ = ["Tokenizer", "words"]
