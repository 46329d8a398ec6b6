"""Outputs made from captions: heatmaps, alternative texts, confidence."""
