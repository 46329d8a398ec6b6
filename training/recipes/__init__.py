"""The recipes: short files that return a `Run`. A new one is a function and its line here."""

from captioner.registry import Table

RECIPES = Table(
    "recipe",
    {
        "tiny": "training.recipes.tiny:tiny",
        "flickr8k_lstm": "training.recipes.flickr8k:lstm",
        "flickr8k_gru": "training.recipes.flickr8k:gru",
        "flickr8k_simple_rnn": "training.recipes.flickr8k:simple_rnn",
        "flickr8k_bidirectional": "training.recipes.flickr8k:bidirectional",
        "flickr8k_show_and_tell": "training.recipes.flickr8k:show_and_tell",
        "flickr8k_topdown": "training.recipes.flickr8k:topdown",
        "flickr8k_device": "training.recipes.flickr8k:device",
        "flickr8k_small": "training.recipes.flickr8k:small",
        "flickr8k_default": "training.recipes.flickr8k:default",
        "flickr8k_best": "training.recipes.flickr8k:best",
        "flickr8k_fine": "training.recipes.flickr8k:fine",
        "flickr8k_brisk": "training.recipes.flickr8k:brisk",
        "flickr8k_sharp": "training.recipes.flickr8k:sharp",
        "flickr8k_compact": "training.recipes.flickr8k:compact",
        "coco_lstm": "training.recipes.coco:lstm",
    },
)
