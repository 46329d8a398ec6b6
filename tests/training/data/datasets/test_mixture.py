"""The dataset `mixture`: splits and ids of its sources, features cached source by source, and what is refused."""

from collections import Counter

import keras
import numpy as np
import pytest

from captioner.errors import DataError, SpecError
from captioner.models.encoders import Encoder
from tests.support.training.dataset_folders import draw, write_csv
from training.data import feature_cache
from training.data.datasets import DATASETS
from training.data.datasets.mixture import Mixture, source_views
from training.data.feature_cache import cached_split, encode_split
from training.data.transforms import AugmentedView, HorizontalFlip, Subset

pytestmark = pytest.mark.usefixtures("quick")

DRAWN = "synthetic_scenes(seed={}, train={}, validation={}, test=0, test_unseen=0, size=32)"
FIRST, SECOND = DRAWN.format(1, 6, 2), DRAWN.format(2, 3, 0)


@pytest.fixture
def mixture():
    return Mixture([FIRST, SECOND], weights=[1, 3], loss_weights=[1, 0.25], names=["human", "machine"])


def photos(place, numbers, seed=0, rows=1):
    """A folder of drawn images 0.png, 1.png ...; its spec."""
    for number in numbers:
        draw(place / f"{number}.png", seed + number)
    table = [
        (f"{n}.png", f"a thing numbered {'x' * n} {row}", "train") for n in numbers for row in range(rows)
    ]
    write_csv(place / "captions.csv", [("image", "caption", "split"), *table])
    return f"folder(path={str(place)!r})"


def test_splits_hold_the_examples_of_all_sources(mixture):
    assert mixture.splits == ("train", "validation")
    train = mixture.examples("train")
    assert Counter(example.source for example in train) == {"human": 6, "machine": 3}
    assert len({example.id for example in train}) == 9 and train == mixture.examples("train")
    for part in mixture.parts:
        mixed = [example for example in train if example.source == part.name]
        alone = part.dataset.examples("train")
        assert [example.id for example in mixed] == [f"{part.name}/{example.id}" for example in alone]
        assert [example.captions for example in mixed] == [example.captions for example in alone]
        assert [example.read() for example in mixed] == [example.read() for example in alone]
    assert {(e.source, e.repeats, e.loss_weight) for e in train} == {("human", 1, 1), ("machine", 3, 0.25)}
    assert {example.source for example in mixture.examples("validation")} == {"human"}
    with pytest.raises(DataError, match="splits with images: train, validation"):
        mixture.examples("test")


@pytest.mark.parametrize("counts", [(60, 30), (50, 7), (1, 40)])
def test_every_beginning_holds_the_sources_in_proportion(counts):
    specs = [DRAWN.format(seed, count, 0) for seed, count in enumerate(counts)]
    sources = [example.source for example in Mixture(specs).examples("train")]
    shares = np.cumsum([source == "synthetic_scenes_2" for source in sources]) / np.arange(
        1, len(sources) + 1
    )
    wanted = counts[1] / sum(counts)
    assert all(abs(share - wanted) * place <= 1 for place, share in enumerate(shares, 1))


def test_it_is_built_from_a_spec():
    built = DATASETS.build(f"mixture(sources=[{FIRST!r}, {SECOND!r}], weights=[1, 0.5])")
    assert [part.name for part in built.parts] == ["synthetic_scenes", "synthetic_scenes_2"]
    assert [part.weight for part in built.parts] == [1, 0.5]
    again = DATASETS.build(f"mixture(sources=[{FIRST!r}, {SECOND!r}])")
    assert again.fingerprint == built.fingerprint
    other = DRAWN.format(3, 3, 0)
    assert DATASETS.build(f"mixture(sources=[{FIRST!r}, {other!r}])").fingerprint != built.fingerprint


# Features.


@pytest.fixture(scope="module")
def encoder():
    """An encoder whose features are means of the pixels: 16 locations, 3 channels."""
    pixels = keras.Input((32, 32, 3))
    return Encoder(keras.Model(pixels, keras.layers.AveragePooling2D(8)(pixels)))


@pytest.fixture
def encoded(monkeypatch):
    """Ids of the images that are encoded."""
    ids, real = [], feature_cache._encode

    def encode(encoder, examples, store, split, batch_size):
        ids.extend(example.id for example in examples[store.state.done :])
        real(encoder, examples, store, split, batch_size)

    monkeypatch.setattr(feature_cache, "_encode", encode)
    return ids


def wrapped(dataset, how):
    flipped = HorizontalFlip(dataset) if "flipped" in how else dataset
    return AugmentedView(flipped, 2) if "augmented" in how else flipped


@pytest.mark.parametrize("how", ["plain", "flipped", "augmented", "flipped and augmented"])
def test_features_are_those_of_the_sources_and_are_encoded_once(how, mixture, encoder, encoded, tmp_path):
    alone = {
        part.name: encode_split(encoder, wrapped(part.dataset, how), "train", tmp_path)
        for part in mixture.parts
    }
    count = len(encoded)
    dataset = wrapped(mixture, how)
    features = encode_split(encoder, dataset, "train", tmp_path)
    assert len(encoded) == count == len(features) == 9 * (1 + ("flipped" in how)), (
        "nothing twice, whatever its weight"
    )
    assert [example.id for example in features.examples] == [e.id for e in dataset.examples("train")]
    place = Counter()
    for number, example in enumerate(features.examples):
        np.testing.assert_array_equal(features[number], alone[example.source][place[example.source]])
        place[example.source] += 1
    assert cached_split(encoder, dataset, "train", tmp_path)[np.arange(3)].tolist() == features[:3].tolist()
    assert (
        cached_split(encoder, wrapped(Mixture([FIRST, DRAWN.format(5, 2, 0)]), how), "train", tmp_path)
        is None
    )


def test_features_of_a_subset(mixture, encoder, tmp_path):
    features = encode_split(encoder, mixture, "train", tmp_path)
    part = features.subset(np.array([1, 4, 8]))
    assert part.shape == (3, 16, 3) and [e.id for e in part.examples] == [
        features.examples[i].id for i in (1, 4, 8)
    ]
    np.testing.assert_array_equal(part[[2, 0]], features[[8, 1]])
    held = Subset(mixture, hold_out=4, seed=3)
    assert {example.source for example in held.examples("validation")} == {"human", "machine"}


def test_images_that_cannot_be_read_are_left_out(encoder, tmp_path):
    one = photos(tmp_path / "one", range(5))
    other = photos(tmp_path / "other", range(5, 8))
    mixture = Mixture([one, other])
    broken = tmp_path / "other" / "6.png"
    broken.write_bytes(broken.read_bytes()[:60] + b"broken" + broken.read_bytes()[66:])
    features = encode_split(encoder, Mixture([one, other]), "train", tmp_path / "cache", max_bad=0.5)
    names = [example.id for example in features.examples]
    assert "folder_2/6.png" not in names and len(names) == 7 and features.total == 8
    (number,) = features.bad
    assert mixture.examples("train")[number].id == "folder_2/6.png" and number not in features.numbers
    alone = encode_split(encoder, DATASETS.build(other), "train", tmp_path / "cache", max_bad=0.5)
    np.testing.assert_array_equal(features[names.index("folder_2/7.png")], alone[1])


def test_other_datasets_have_no_sources():
    plain = DATASETS.build(FIRST)
    assert source_views(plain, "train") == {} and source_views(HorizontalFlip(plain), "train") == {}


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sources": []}, "expected sources of mixture to be a list"),
        ({"sources": FIRST}, "expected sources of mixture to be a list"),
        ({"sources": [FIRST, "nowhere(path='x')"]}, "unknown dataset 'nowhere'"),
        ({"sources": [FIRST, "sinthetic_scenes()"]}, "did you mean 'synthetic_scenes'"),
        ({"sources": [FIRST, 3]}, "expected a spec"),
        (
            {"sources": [FIRST, f"mixture(sources=[{SECOND!r}])"]},
            "no mixtures: list all their sources in one",
        ),
        ({"weights": [1]}, "expected weights of mixture to be a list of 2, one for each source, got"),
        ({"weights": 2}, "expected weights of mixture to be a list of 2"),
        ({"weights": [1, -0.5]}, "weights of mixture for synthetic_scenes_2 expects a number above 0"),
        ({"weights": [1, 0]}, "weights of mixture for synthetic_scenes_2 expects a number above 0"),
        ({"weights": [1, "3"]}, "expects a number above 0"),
        ({"loss_weights": [1, 1, 1]}, "expected loss_weights of mixture to be a list of 2"),
        ({"loss_weights": [float("nan"), 1]}, "loss_weights of mixture for synthetic_scenes expects"),
        ({"names": ["a"]}, "expected names of mixture to be a list of 2"),
        ({"names": ["a", "a"]}, "expected names of mixture to be different words"),
        ({"names": ["a", "b/c"]}, "expected names of mixture to be different words"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, says):
    with pytest.raises(SpecError, match=says) as error:
        Mixture(**{"sources": [FIRST, SECOND], **arguments})
    assert "\n" not in str(error.value)


def test_the_same_images_twice_are_refused(tmp_path):
    one, two = photos(tmp_path / "one", range(4)), photos(tmp_path / "two", range(3, 6))
    (tmp_path / "one" / "2.txt").write_text("a thing")
    same = f"text_files(path={str(tmp_path / 'one')!r})"
    for sources in ([FIRST, FIRST], [FIRST, DRAWN.format(1, 9, 1)], [one, two], [one, same]):
        with pytest.raises(DataError, match="with different images, .* both have") as error:
            Mixture(sources)
        assert "\n" not in str(error.value)


def test_other_images_of_the_same_names_are_no_mistake(tmp_path):
    specs = [photos(tmp_path / "one", range(4)), photos(tmp_path / "two", range(4), seed=50)]
    assert len(Mixture(specs).examples("train")) == 8
