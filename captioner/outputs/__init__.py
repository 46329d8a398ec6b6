"""What is made of a caption: heatmaps, alternative texts, confidence."""
