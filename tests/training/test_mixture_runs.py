"""Runs on a mixture: each source has the metrics and rewards that it would have alone, and a stop changes nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.metrics import evaluate
from captioner.metrics.cider import CiderD
from captioner.models import CaptionModel
from captioner.text import Tokenizer, words
from captioner.types import END
from tests.support.training.interrupted_runs import CHANGES
from training import train
from training.analysis import report
from training.config import SelfCritical
from training.data.datasets import Example
from training.loop.self_critical import SelfCriticalBatches, SourceReward
from training.loop.validation import SOURCE_METRICS, score
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

DRAWN = "synthetic_scenes(seed={}, train={}, validation={}, test={}, test_unseen=0, size=32)"
SOURCES = [DRAWN.format(1, 8, 4, 3), DRAWN.format(2, 6, 3, 0), DRAWN.format(3, 4, 0, 0)]
WEIGHTS = "weights=[1, 0.5, 2], loss_weights=[1, 1, 0.5], names=['human', 'web', 'labels']"
MIXTURE = f"mixture(sources={SOURCES!r}, {WEIGHTS})"


def run_of(*changes):
    settings = [f"data.source={MIXTURE}", "evaluation.tests=test", "scst.batch_images=4", "xe.epochs=2"]
    return with_changes(RECIPES.build("tiny"), [*CHANGES, *settings, *changes])


@pytest.fixture(scope="module")
def finished(quick, no_reports):
    """The folder of a run with both stages, and its metrics."""
    out = Path("mixture").absolute()
    return out, train.train(run_of("scst.epochs=1", "checkpoint_minutes=0"), out, False)


@pytest.fixture(scope="module")
def built(quick):
    """A trainer with both stages, before its first step."""
    return train.build(run_of("scst.epochs=1"), Path("built"), False)


def rows(out):
    with (out / "history.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


# Metrics.


def test_metrics_of_a_source_are_those_of_its_images_alone():
    texts = ["a dog runs", "two cats sleep", "a red car", "a man rides a horse", "grass", "a white boat"]
    sources = ["one", "other", "one", "other", "other", ""]
    examples = [
        Example(str(i), (f"{text} outside", text), bytes, source=source)
        for i, (text, source) in enumerate(zip(texts, sources, strict=True))
    ]
    captions = [*texts[1:2], *texts[1:4], "a dog", texts[5]]
    metrics = score(captions, examples)
    for source in ("one", "other"):
        chosen = [i for i in range(6) if sources[i] == source]
        alone = evaluate(
            {str(i): captions[i] for i in chosen}, {str(i): list(examples[i].captions) for i in chosen}
        )
        assert {name: metrics[f"{name}/{source}"] for name in SOURCE_METRICS} == pytest.approx(
            {name: alone[name] for name in SOURCE_METRICS}
        )
    overall = score(captions, [Example(e.id, e.captions, bytes) for e in examples])
    assert overall == pytest.approx({name: value for name, value in metrics.items() if "/" not in name})
    assert overall["CIDEr-D"] != pytest.approx(metrics["CIDEr-D/one"])


def test_every_report_has_the_metrics_of_each_source(finished, capsys):
    out, metrics = finished
    history = rows(out)
    for row in history:
        assert {name for name in row if "/" in name} == {
            "CIDEr-D/human", "CIDEr-D/web", "BLEU-4/human", "BLEU-4/web",
        }  # fmt: skip
        assert float(row["CIDEr-D/human"]) >= 0 and row["BLEU-4/web"]
    stored = json.loads((out / "metrics.json").read_text())
    best = history[stored["epoch"] - 1]
    for source in ("human", "web"):
        assert stored["validation"][f"CIDEr-D/{source}"] == pytest.approx(float(best[f"CIDEr-D/{source}"]))
    assert "CIDEr-D/human" in stored["test"] and not any(
        "web" in name or "labels" in name for name in stored["test"]
    )
    assert stored["test"]["BLEU-4/human"] == pytest.approx(stored["test"]["BLEU-4"]), (
        "it alone has test images"
    )
    assert "| CIDEr-D/human |" in captioner.bundle.read(out / "model").card
    page = report.write([out]).read_text()
    assert "CIDEr-D/web" in page and page.count("data:image/jpeg") == 7, "images of all sources"
    assert metrics["epoch"] == stored["epoch"]


def test_the_log_has_the_metrics_of_each_source(built, capsys):
    built.run_logger.row({"epoch": 1, "loss": 2.0, "seconds": 6.0, "CIDEr-D": 40.0, "CIDEr-D/web": 12.34})
    assert "CIDEr-D 40.0, CIDEr-D/web 12.3; 0.1 minutes" in capsys.readouterr().out


def test_validation_loss_counts_all_words_alike(built, tmp_path):
    """Whatever weights the sources have in training."""
    reference = built.scoring.reference_loss()
    plain = f"mixture(sources={SOURCES!r}, names=['human', 'web', 'labels'])"
    other = train.build(run_of(f"data.source={plain}"), tmp_path / "plain", False)
    for mine, theirs in zip(other.model.weights, built.model.weights, strict=True):
        mine.assign(theirs)
    assert other.scoring.reference_loss() == pytest.approx(reference, rel=1e-5)


# What is trained on.


def test_the_vocabulary_and_the_images_are_those_of_all_sources(built):
    examples = built.source.examples("train")
    assert len(examples) == 18 and len(built.source.training_captions) == 18 * 6
    groups = built.stages[0].batches.caption_groups
    shown = {name: 0 for name in ("human", "web", "labels")}
    for group in groups:
        shown[examples[group.image].source] += 1
    # 6 captions in groups of 3; each group as often as an epoch can show it.
    assert shown == {"human": 16, "web": 12, "labels": 16}
    first = [groups[n] for n in sum(built.stages[0].batches.plan(0), [])]
    assert abs(sum(examples[group.image].source == "web" for group in first) - 6) <= 4
    assert {group.loss_weight for group in groups if examples[group.image].source == "labels"} == {0.5}


def batches_of(built, **settings):
    return SelfCriticalBatches(SelfCritical(**{"batch_images": 4, **settings}), built.source, built.model, 1)


def test_self_critical_training_shows_images_by_their_weights(built):
    batches, examples = batches_of(built), built.source.examples("train")
    counts = np.zeros((4, 18), int)
    for epoch in range(4):
        plan = np.concatenate(batches.plan(epoch))
        assert len(plan) % 4 == 0
        np.add.at(counts[epoch], plan, 1)
    for image, example in enumerate(examples):
        # The last batch may be filled up, with three images at most.
        assert 0 <= counts[:, image].sum() - 4 * example.repeats <= 3


def test_rewards_are_those_of_each_source_alone(built):
    """Document frequencies too: a word that is in all captions of one source says nothing there."""
    examples = built.source.examples("train")
    vocabulary = built.source.tokenizer.vocabulary
    reward = SourceReward(examples, vocabulary)
    random = np.random.default_rng(1)
    images = random.integers(0, len(examples), 40)
    drawn = [examples[image].captions[random.integers(6)] for image in images]
    drawn[::3] = [examples[0].captions[0]] * len(drawn[::3])
    ids = np.zeros((40, 12), int)
    for row, text in zip(ids, drawn, strict=True):
        encoded = built.source.tokenizer.encode(text, 12)
        row[: len(encoded)] = encoded
    rewards = reward(ids, images)
    for source in ("human", "web", "labels"):
        numbers = [i for i, example in enumerate(examples) if example.source == source]
        references = [[words(caption) for caption in examples[i].captions] for i in numbers]
        alone = CiderD(corpus=references, count_end=True).prepare(references, vocabulary)
        chosen = np.isin(images, numbers)
        np.testing.assert_allclose(
            rewards[chosen], alone(ids[chosen], [numbers.index(image) for image in images[chosen]])
        )
    everything = [[words(caption) for caption in example.captions] for example in examples]
    together = CiderD(corpus=everything, count_end=True).prepare(everything, vocabulary)(ids, images)
    assert not np.allclose(rewards, together) and rewards.max() > 0


def test_loss_weights_scale_what_an_image_teaches(built):
    batches = batches_of(built, samples=3, references=2, xe_weight=0.3)
    images = batches.plan(0)[0]
    inputs, seed = built.source.reader("train")(images), np.array([3, 1], np.int32)
    plain = batches.make(images, inputs, "features", seed)
    assert {0.5, 1.0} == set(batches._loss_weights.tolist())
    batches._loss_weights = np.full(18, 0.5)
    halves = batches.make(images, inputs, "features", seed)
    batches._loss_weights = np.ones(18)
    ones = batches.make(images, inputs, "features", seed)
    np.testing.assert_allclose(halves.weights, ones.weights, rtol=1e-5)  # only their ratio counts
    assert plain.targets.tolist() == ones.targets.tolist() and not np.allclose(plain.weights, ones.weights)
    # Of images that weigh next to nothing beside one, that one is left, as if it were alone.
    batches._loss_weights = np.full(18, 1e-9)
    batches._loss_weights[images[0]] = 1.0
    alone = batches.make(images, inputs, "features", seed)
    samples = batches._sample(inputs, seed)[0].numpy()
    advantages = batches.advantages(batches.rewards(samples, images), np.zeros((4, 0)))
    lengths = [ids.index(END) + 1 if END in ids else len(ids) for ids in samples[0].tolist()]
    expected = np.dot(np.abs(advantages[0]), lengths) / sum(lengths) + 0.3
    assert np.abs(alone.weights).sum() == pytest.approx(expected, rel=1e-4)


# Resuming.


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 9])
def test_resumed_in_either_stage(finished, tmp_path, monkeypatch, at):
    folder, complete = finished
    run = run_of("scst.epochs=1", "checkpoint_minutes=0")
    real, steps = CaptionModel.train_on_batch, []

    def stopping(self, *arguments, **more):
        steps.append(1)
        if len(steps) == at + 1:
            raise KeyboardInterrupt
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionModel, "train_on_batch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train.train(run, tmp_path / "cut", False)
    resumed = train.train(run, tmp_path / "cut", True)
    assert resumed["test"] == pytest.approx(complete["test"]) and resumed["epoch"] == complete["epoch"]
    one, two = (json.loads((out / "predictions_test.json").read_text()) for out in (folder, tmp_path / "cut"))
    assert one == two and all(name.startswith("human/") for name in one)
    for left, right in zip(rows(folder), rows(tmp_path / "cut"), strict=True):
        assert float(left["loss"]) == pytest.approx(float(right["loss"]), abs=1e-5)


def test_other_weights_are_another_run(finished, capsys):
    out, _ = finished
    other = MIXTURE.replace("weights=[1, 0.5, 2]", "weights=[1, 1, 2]")
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--set", f"data.source={other}", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "other settings" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (f"mixture(sources={SOURCES!r}, weights=[1])", "expected weights of mixture to be a list of 3"),
        ("mixture(sources=['sinthetic_scenes()'])", "did you mean 'synthetic_scenes'"),
        (f"mixture(sources={SOURCES[:1] * 2!r})", "expected sources of mixture with different images"),
    ],
)
def test_a_wrong_mixture_is_one_line(source, says, capsys, tmp_path):
    assert train.main(["tiny", "--set", f"data.source={source}", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_source_reward_needs_no_mixture():
    examples = [Example("a", ("a dog",), bytes), Example("b", ("a cat",), bytes)]
    reward = SourceReward(examples, Tokenizer(["a", "dog", "cat"]).vocabulary)
    np.testing.assert_allclose(reward(np.array([[4, 5, 2], [4, 5, 2]]), np.array([0, 1]))[1], 0.0)
    assert reward(np.array([[4, 5, 2]]), [0])[0] > 0
