"""Caption files: one reader for training and evaluation, and matching of image ids."""

from captioner.caption_files.captions import References, aligned, read_predictions, read_references
from captioner.caption_files.reading import parse_json, read_text
from captioner.caption_files.row import Row, Rows, make_row
from captioner.caption_files.rows import read_rows

__all__ = [
    "References",
    "Row",
    "Rows",
    "aligned",
    "make_row",
    "parse_json",
    "read_predictions",
    "read_references",
    "read_rows",
    "read_text",
]
