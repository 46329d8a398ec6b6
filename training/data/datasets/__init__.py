"""Datasets of images and captions, behind one interface.

A dataset has `.splits` (names), `.examples(split)` (a sequence of `Example`) and `.fingerprint` (a hash that
changes whenever an image does). Build one from a spec: `DATASETS.build("synthetic_scenes(seed=1)")`.
"""

from captioner.registry import Table
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.example import Dataset, Example

DATASETS = Table(
    "dataset",
    {
        "synthetic_scenes": "training.data.datasets.synthetic_scenes:SyntheticScenes",
        "flickr": "training.data.datasets.flickr:flickr",
        "auto": "training.data.datasets.formats.auto:auto",
        "folder": "training.data.datasets.folder:folder",
        "image_folder": "training.data.datasets.formats.hugging_face:image_folder",
        "coco_json": "training.data.datasets.formats.coco_json:coco_json",
        "text_files": "training.data.datasets.formats.text_files:text_files",
        "webdataset": "training.data.datasets.formats.webdataset:webdataset",
        "embedded": "training.data.datasets.formats.embedded:embedded",
        "coco": "training.data.datasets.tfds_source:coco",
        "tfds": "training.data.datasets.tfds_source:tfds_dataset",
        "mixture": "training.data.datasets.mixture:Mixture",
    },
)

__all__ = ["DATASETS", "BadRows", "Dataset", "Example"]
