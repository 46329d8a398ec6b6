"""Captioning one's own images on a page: what to caption next, the captions file, the page and its server."""
