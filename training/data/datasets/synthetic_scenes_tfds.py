"""`synthetic_scenes` as a builder of tensorflow-datasets, for programs that speak it.

```python
import tensorflow_datasets as tfds
import training.data.datasets.synthetic_scenes_tfds  # makes the name known
train = tfds.load("synthetic_scenes", split="train", data_dir="cache/tfds")
```

The images and captions are those of `SyntheticScenes`; only the packing differs. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow_datasets as tfds

from training.data.datasets.synthetic_scenes import SyntheticScenes as Source


@dataclass(eq=False, kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """A world of scenes.

    Args:
        name: str. What to call it.
        options: dict. Arguments of `training.data.datasets.synthetic_scenes.SyntheticScenes`; defaults to its own.

    Example:
        >>> ScenesConfig(name="little", options={"train": 10, "size": 32}).name
        'little'
    """

    options: dict[str, int] = field(default_factory=dict)


class SyntheticScenes(tfds.core.GeneratorBasedBuilder):
    """Drawn scenes of coloured shapes with six true captions each."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The first."}
    BUILDER_CONFIGS = [ScenesConfig(name="default")]

    def _info(self) -> tfds.core.DatasetInfo:
        size = Source(**self.builder_config.options).size
        return self.dataset_info_from_configs(
            description="Drawn scenes of coloured shapes with six true captions each. The split "
            "test_unseen shows pairs of colour and shape that no other split shows.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "id": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        source = Source(**self.builder_config.options)
        return {split: self._generate_examples(source, split) for split in source.splits}

    def _generate_examples(self, source: Source, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in source.examples(split):
            yield (
                example.id,
                {
                    "image": example.read(),
                    "captions": list(example.captions),
                    "id": example.id,
                },
            )
