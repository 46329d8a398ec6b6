"""Datasets, batches, augmentation and the feature cache."""
