"""Versions, batching and execution of models."""
