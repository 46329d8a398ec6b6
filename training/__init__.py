"""Programs that make a model: data, features, losses, recipes, the training script."""
