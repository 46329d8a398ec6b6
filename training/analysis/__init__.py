"""Analyses of models, runs and metrics."""
