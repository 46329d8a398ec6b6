"""The training loop, its stages, losses, checkpoints and validation."""
