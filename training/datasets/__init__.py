"""Where training pictures and captions come from, behind one small interface.

A dataset has `.splits` (names), `.examples(split)` (a sequence of `Example`) and `.fingerprint` (a hash that
changes whenever a picture does). Build one from a spec: `DATASETS.build("synthetic_scenes(seed=1)")`.
"""

from captioner.registry import Table
from training.datasets.bad_rows import BadRows
from training.datasets.example import Dataset, Example

DATASETS = Table(
    "dataset",
    {
        "synthetic_scenes": "training.datasets.synthetic_scenes:SyntheticScenes",
        "flickr": "training.datasets.flickr:flickr",
        "folder": "training.datasets.folder:folder",
        "coco": "training.datasets.tfds_source:coco",
        "tfds": "training.datasets.tfds_source:tfds_dataset",
    },
)

__all__ = ["DATASETS", "BadRows", "Dataset", "Example"]
