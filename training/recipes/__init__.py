"""The recipes: short files that return a `Run`. A new one is a function and its line here."""

from captioner.registry import Table

RECIPES = Table(
    "recipe",
    {
        "own": "training.recipes.own:own",
        "scratch": "training.recipes.own:scratch",
        "tiny": "training.recipes.tiny:tiny",
        "flickr8k_lstm": "training.recipes.flickr8k:lstm",
        "flickr8k_gru": "training.recipes.flickr8k:gru",
        "flickr8k_simple_rnn": "training.recipes.flickr8k:simple_rnn",
        "flickr8k_bidirectional": "training.recipes.flickr8k:bidirectional",
        "flickr8k_show_and_tell": "training.recipes.flickr8k:show_and_tell",
        "flickr8k_topdown": "training.recipes.flickr8k:topdown",
        "flickr8k_device": "training.recipes.flickr8k:device",
        "flickr8k_lite0_gru": "training.recipes.flickr8k:lite0_gru",
        "flickr8k_german": "training.recipes.flickr8k:german",
        "flickr8k_default": "training.recipes.flickr8k:default",
        "flickr8k_two_encoders": "training.recipes.flickr8k:two_encoders",
        "flickr8k_two_encoders_288_finetune": "training.recipes.flickr8k:two_encoders_288_finetune",
        "flickr8k_two_encoders_288_batch12": "training.recipes.flickr8k:two_encoders_288_batch12",
        "flickr8k_two_encoders_288": "training.recipes.flickr8k:two_encoders_288",
        "flickr8k_lite0_cells": "training.recipes.flickr8k:lite0_cells",
        "coco_lstm": "training.recipes.coco:lstm",
    },
)
