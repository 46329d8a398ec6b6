"""A run's folder may come from anybody: its files are read strictly, and nothing in them is run."""

import json
import math

import numpy as np
import pytest

from captioner.errors import CaptionerError, DataError
from training import publish, train
from training.analysis import gradients, report, results
from training.analysis.sample_images import sample_images
from training.loop import run_folder
from training.loop.run_folder import finite, read_config, read_metrics, settings
from training.recipes import RECIPES
from training.recipes.changes import with_changes

RUN = with_changes(RECIPES.build("tiny"), ["evaluation.tests=test"])
FIGURES = {
    "BLEU-1": 1.0,
    "BLEU-4": 1.0,
    "METEOR": 1.0,
    "ROUGE-L": 1.0,
    "CIDEr-D": 1.0,
    "unique captions": 1.0,
}
METRICS = {"validation": {"CIDEr-D": 1.0}, "epoch": 1, "seconds": 1.0, "memory": 1.0, "test": FIGURES}


def places(value, path=()):
    """Every place of nested dicts, inner ones too."""
    for key, inner in value.items():
        yield (*path, key)
        if isinstance(inner, dict):
            yield from places(inner, (*path, key))


def changed(value, path, new):
    key, *rest = path
    return {**value, key: changed(value[key], rest, new) if rest else new}


def folder_with(tmp_path, config=None, metrics=None):
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    for name, value in (("run.json", config or settings(RUN)), ("metrics.json", metrics or METRICS)):
        (run / name).write_text(value if isinstance(value, str) else json.dumps(value))
    (run / "history.csv").write_text("epoch,loss,seconds,CIDEr-D\n1,1.0,1.0,1.0\n")
    (run / "samples.txt").write_text("epoch 1\n  1.png: a dog  |  a dog\n")
    (run / "gradients.csv").write_text("epoch,step,norm\n1,0,1.0\n1,1,2.0\n")
    return run


class Encoder:
    image_size = (32, 32)


def readers(run):
    """All that programs make of a run's files, without drawing pages."""
    return [
        lambda: report.page_data([run]),
        lambda: sample_images(read_config(run), ["1.png", "system/1.png"]),
        lambda: results.table([run]),
        lambda: results.archive(run, run.parent / "kept"),
        lambda: gradients.curves_of(run),
        lambda: train.open_run(run, RUN, overwrite=False),
    ]


EVIL = "os:system(command='touch {}')"
NESTED = [
    "mixture(sources=['{}'])",
    "lstm(attention='{}')", "concat(encoders=['{}'])", "fine_tuned(encoder='{}')", "top_down(cell='{}')",
    "beam(width=3, rerank='{}')", "synthetic_scenes(train='{}')", "folder(path='{}')",
]  # fmt: skip


@pytest.mark.parametrize("path", list(places(settings(RUN))), ids=".".join)
def test_no_field_of_a_run_is_run(path, tmp_path):
    marker = tmp_path / "MARKER"
    evil = EVIL.format(marker)
    texts = [evil] if path not in SPECS else [evil, *(spec.format(evil.replace("'", '"')) for spec in NESTED)]
    for text in texts:
        run = folder_with(tmp_path, changed(settings(RUN), path, text))
        for read in [
            *readers(run),
            *([lambda run=run: publish.encoder_change(run, Encoder)] if path in SPECS else []),
        ]:
            try:
                read()
            except CaptionerError as error:
                assert "\n" not in str(error) and len(str(error)) < 1500
        assert not marker.exists(), (path, text)


SPECS = {("model", "encoder"), ("model", "decoder"), ("data", "source"), ("evaluation", "strategy")}


@pytest.mark.parametrize("path", list(places(settings(RUN))), ids=".".join)
def test_a_setting_of_another_type_is_one_line(path, tmp_path):
    was = settings(RUN)
    for key in path:
        was = was[key]
    others = [None, [1, [2]], {"a": 1}, "text", 7, 1.5, True]
    wrong = [v for v in others if type(v) is not type(was) and not (type(was) is float and type(v) is int)]
    for value in wrong:
        run = folder_with(tmp_path, changed(settings(RUN), path, value))
        with pytest.raises(DataError, match=path[-1]) as error:
            read_config(run)
        assert "\n" not in str(error.value)
        for read in readers(run):
            try:
                read()
            except CaptionerError as refusal:
                assert "\n" not in str(refusal)


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "null", "[" * 100_000, '{"a":' * 100_000, "\ud800", '{"seed": NaN}', b"\xff\xfe{}"],
    ids=lambda text: repr(text[:12]),
)
@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
def test_what_is_no_json_object_is_one_line(name, text, tmp_path):
    run = folder_with(tmp_path)
    (run / name).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=name) as error:
        (read_config if name == "run.json" else read_metrics)(run)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    for read in readers(run):
        try:
            read()
        except CaptionerError as refusal:
            assert "\n" not in str(refusal)


@pytest.mark.parametrize("path", list(places(METRICS)), ids=".".join)
def test_a_figure_of_another_type_is_one_line(path, tmp_path):
    for value in ("text", [1], {"a": {"b": 1}}, True):
        run = folder_with(tmp_path, metrics=changed(METRICS, path, value))
        with pytest.raises(DataError, match="metrics"):
            read_metrics(run)
        for read in readers(run):
            try:
                read()
            except CaptionerError as refusal:
                assert "\n" not in str(refusal)


@pytest.mark.parametrize("path", list(places(METRICS)), ids=".".join)
def test_missing_metric_is_one_line_or_a_dash(path, tmp_path):
    for metrics in (changed(METRICS, path, None), {k: v for k, v in METRICS.items() if k != path[0]}):
        run = folder_with(tmp_path, metrics=metrics)
        for read in readers(run):
            try:
                read()
            except CaptionerError as refusal:
                assert "\n" not in str(refusal)


def test_a_run_of_ours_comes_back(tmp_path):
    run = folder_with(tmp_path)
    assert read_config(run) == settings(RUN) and read_metrics(run) == METRICS
    with pytest.raises(DataError, match=r"lacks model.colour"):
        read_config(run, "model.encoder", "model.colour")
    older = {**settings(RUN), "xe": {"epochs": 3}}
    assert read_config(folder_with(tmp_path, older))["xe"] == {"epochs": 3}


def test_figures_that_are_no_number_are_null(tmp_path):
    metrics = finite({"test": {"CIDEr-D": float("nan"), "BLEU-4": 1.0}, "epoch": np.float64(math.inf)})
    assert metrics == {"test": {"CIDEr-D": None, "BLEU-4": 1.0}, "epoch": None}
    json.dumps(metrics, allow_nan=False)
    run_folder.read_metrics(folder_with(tmp_path, metrics=metrics))
