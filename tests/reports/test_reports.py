"""Reports on captions: their figures by hand and by property, their pages read back, and what they refuse."""

import base64
import fnmatch
import io
import itertools
import json
import random
import sys
import tomllib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner import api, atomic
from captioner.caption_files import read_predictions
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.engines.fake import FakeEngine
from captioner.errors import DataError, MissingDependency, SpecError
from captioner.metrics import METRICS, Scores, scored
from captioner.reports import bootstrap, contents, page
from captioner.reports.confusions import confusions
from captioner.types import Caption
from tests.support.report_pages import Page, charts, check_alone, check_figures

ROOT = Path(__file__).parents[2]
THINGS = ["dog", "cat", "boy", "girl", "horse", "boat"]
PLACES = ["on the grass", "in the snow", "near the water", "on a red bench"]


def world(size=12, seed=0, wrong=0.4):
    """Predictions and references of made-up images: some right, some of another thing or place."""
    rng = random.Random(seed)
    predictions, references = {}, {}
    for i in range(size):
        thing, place = rng.choice(THINGS), rng.choice(PLACES)
        references[f"{i}.png"] = [
            f"A {thing} sits {place} .", f"The brown {thing} is {place} .", f"A {thing} ."
        ]  # fmt: skip
        said = rng.choice(THINGS) if rng.random() < wrong else thing
        predictions[f"{i}.png"] = f"a {said} sits {rng.choice(PLACES) if rng.random() < wrong else place}"
    return predictions, references


def attended(text, rows=2, columns=3):
    words = tuple(text.split())
    maps = np.random.default_rng(len(text)).dirichlet(np.ones(rows * columns), len(words)).astype(np.float32)
    return Caption(
        text, words=words, word_logp=(-0.5,) * len(words), attention=maps.reshape(-1, rows, columns)
    )


@pytest.fixture
def photos(tmp_path):
    """A folder with an image for each image of the world."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).resize((480, 360)).save(folder / f"{i}.png")
    return folder


def read(path):
    text = path.read_text(encoding="utf-8")
    return Page(text), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


# --- the spread -----------------------------------------------------------------------------------


def test_intervals_hold_the_figure_and_shrink_with_more_images():
    widths = []
    for size in (30, 480):
        predictions, references = world(size)
        model = scored(predictions, references)
        drawn = bootstrap.resampled([model], 300)[0]
        for name, value in model.corpus.items():
            if name in ("unique captions", "vocabulary"):
                assert name not in drawn  # drawn images repeat, so that these mean nothing
                continue
            found = bootstrap.spread(drawn[name])
            assert drawn[name].shape == (300,) and found["low"] <= value <= found["high"]
        widths.append(bootstrap.spread(drawn["CIDEr-D"])["error"])
    assert 0 < widths[1] < widths[0] / 2  # the square root of 16 is 4


def test_a_drawn_figure_is_that_of_the_drawn_images():
    """Every figure but CIDEr-D, whose document frequencies stay, is scored anew from the drawn captions."""
    predictions, references = world(20)
    predictions["3.png"], predictions["4.png"] = "a dog", "dog"
    model = scored(predictions, references, metrics=["bleu", "rouge_l", "bad_endings", "diversity"])
    drawn = bootstrap.resampled([model], 5, seed=7)[0]
    assert {"BLEU-1", "BLEU-4", "ROUGE-L", "mean length", "bad endings"} == set(drawn) - {"BLEU-2", "BLEU-3"}
    for row, places in enumerate(np.random.default_rng(7).integers(20, size=(5, 20))):
        candidates = [model.candidates[i] for i in places]
        wanted = [model.references[i] for i in places]
        for metric in ("bleu", "rouge_l", "bad_endings", "diversity"):
            for name, value in METRICS.build(metric).score(candidates, wanted).corpus.items():
                if name in drawn:
                    assert drawn[name][row] == pytest.approx(value, abs=1e-9), name


def test_drawing_in_parts_changes_nothing(monkeypatch):
    model = scored(*world(20), metrics=["rouge_l", "bleu"])
    whole = bootstrap.resampled([model], 50)[0]
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 20 * 7)
    parts = bootstrap.resampled([model], 50)[0]
    assert all(parts[name] == pytest.approx(whole[name], abs=1e-9) for name in whole)


def test_images_that_are_all_alike_have_no_spread():
    references = {str(i): ["a dog runs over the grass today"] for i in range(9)}
    model = scored(dict.fromkeys(references, "a dog runs over the green grass"), references, metrics=["bleu"])
    assert 0 < model.corpus["BLEU-4"] < 100
    for name, values in bootstrap.resampled([model], 40)[0].items():
        assert values == pytest.approx(np.full(40, model.corpus[name]), abs=1e-9)


def test_a_corpus_figure_that_is_no_mean_has_no_interval(monkeypatch):
    model = scored(*world(6), metrics=["rouge_l"])
    model.scores.append(Scores({"METEOR": 20.0}, {"METEOR": np.array([10.0, 20, 30, 40, 50, 60])}))
    assert set(bootstrap.resampled([model], 10)[0]) == {"ROUGE-L"}
    row = contents.evaluation([*[with_cider(model)] * 2], ["a", "b"], 10)["scores"][1]
    assert row["name"] == "METEOR" and row["models"][0]["low"] is None and row["difference"]["higher"] is None


def with_cider(model):
    model.scores.append(METRICS.build("cider_d").score(model.candidates, model.references))
    return model


def test_a_model_does_not_differ_from_itself():
    model = scored(*world(12))
    for row in contents.evaluation([model, model], ["a", "b"], 50)["scores"]:
        apart = row["difference"]
        assert apart["value"] == 0
        if apart["low"] is not None:
            assert (apart["low"], apart["high"], apart["error"], apart["higher"]) == (0, 0, 0, 0)


def test_a_better_model_is_higher_in_nearly_all_drawings():
    (good, references), (bad, _) = world(60, wrong=0.1), world(60, wrong=0.1)
    bad = {name: text if i % 3 else "a zebra swims" for i, (name, text) in enumerate(bad.items())}
    data = contents.evaluation([scored(good, references), scored(bad, references)], ["good", "bad"], 200)
    row = next(row for row in data["scores"] if row["name"] == "CIDEr-D")
    assert row["difference"]["low"] > 0 and row["difference"]["higher"] > 99
    assert row["difference"]["value"] == pytest.approx(row["models"][0]["value"] - row["models"][1]["value"])
    # Pairs of drawings differ less than drawings of each by itself.
    assert row["difference"]["error"] < np.hypot(row["models"][0]["error"], row["models"][1]["error"])


# --- other figures --------------------------------------------------------------------------------


def test_confused_words_by_hand():
    predictions = {
        "1.jpg": "a cat sleeps on the red sofa",
        "2.jpg": "a cat and a bird",
        "3.jpg": "two dogs run",
    }
    references = {
        # dog, sleeps, couch: in at least two of four; of them the caption lacks dog and couch.
        "1.jpg": ["A dog sleeps on a couch .", "A dog sleeps .", "The couch .", "It sleeps with red eyes ."],
        "2.jpg": ["A dog and a bird .", "A brown dog ."],
        "3.jpg": ["Two dogs run .", "They run ."],
    }
    found = confusions(scored(predictions, references, metrics=["exact_match"]))
    pairs = {(pair["said"], pair["missed"]): pair["weight"] for pair in found["pairs"]}
    # The second image: bird is in half of its references, and so is brown, which was missed.
    assert pairs == {
        ("cat", "dog"): 1 / 2 + 1 / 2, ("cat", "couch"): 1 / 2, ("cat", "brown"): 1 / 2,
        ("sofa", "dog"): 1 / 2, ("sofa", "couch"): 1 / 2,
    }  # fmt: skip
    assert found["pairs"][0] == {
        "said": "cat", "missed": "dog", "weight": 1.0,
        "example": {"image": "1.jpg", "caption": predictions["1.jpg"]},
    }  # fmt: skip
    assert [(row["word"], row["count"]) for row in found["invented"]] == [("cat", 2), ("sofa", 1)]
    assert [(row["word"], row["count"]) for row in found["missed"]] == [
        ("dog", 2),
        ("brown", 1),
        ("couch", 1),
    ]
    assert found["missed"][1]["example"]["image"] == "2.jpg"


def test_lengths_vocabulary_and_distribution_add_up():
    predictions, references = world(12)
    data = contents.evaluation([scored(predictions, references)], ["a"], 10)
    assert sum(data["cider_d"]["models"][0]["counts"]) == 12 == len(data["images"])
    values = sorted(row["CIDEr-D"][0] for row in data["images"])
    assert data["cider_d"]["models"][0]["highest"] == values[-1] <= data["cider_d"]["edges"][-1]
    assert data["cider_d"]["models"][0]["mean"] == pytest.approx(
        captioner.evaluate(predictions, references)["CIDEr-D"]
    )
    lengths = data["lengths"]["models"][0]
    assert sum(lengths["shares"]) == pytest.approx(100)
    assert sum(i * share for i, share in enumerate(lengths["shares"])) / 100 == pytest.approx(lengths["mean"])
    same = contents.evaluation(
        [scored({"1": "a a a b", "2": "A a a b ."}, {"1": ["a a a a"], "2": ["c"]})], ["a"], 10
    )
    said = same["vocabulary"]["models"][0]
    assert (said["words"], said["half"], said["nine tenths"], said["unique"]) == (2, 1, 2, 50.0)
    assert said["of references"] == 50.0
    assert said["frequent"] == [{"caption": "a a a b", "count": 2, "share": 100.0}]


def test_groups_of_images_are_in_order():
    predictions, references = world(30, wrong=0.2)
    other = {name: f"a boat {text.split(' ', 2)[2]}" for name, text in predictions.items()}
    data = contents.evaluation(
        [scored(predictions, references), scored(other, references)], ["a", "b"], 10, shown=4
    )
    groups = {group["group"]: [p["models"] for p in group["images"]] for group in data["examples"]}
    assert [key for key in groups if "better" not in key] == ["best", "median", "worst"]
    score = {key: [m[0]["CIDEr-D"] for m in each] for key, each in groups.items()}
    everything = sorted((row["CIDEr-D"][0] for row in data["images"]), reverse=True)
    assert score["best"] == everything[:4] and score["median"] == everything[13:17]
    assert score["worst"] == everything[::-1][:4]
    apart = [m[0]["CIDEr-D"] - m[1]["CIDEr-D"] for m in groups["first better"]]
    assert apart == sorted(apart, reverse=True) and apart[-1] > 0
    few = contents.evaluation([scored(*world(2))], ["a"], 10)["examples"]
    assert [group["group"] for group in few] == ["all"] and len(few[0]["images"]) == 2


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [1, 2])
def test_every_figure_of_the_page_is_that_of_the_json(tmp_path, photos, models):
    predictions, references = world()
    predictions = {name: attended(text) for name, text in predictions.items()}
    # Another order must not matter.
    baseline = dict(reversed(world(wrong=0.8)[0].items())) if models == 2 else None
    out = captioner.report(
        predictions, references, tmp_path / "r.html", baseline, photos, ("one", "other"), resamples=40
    )
    found, data = read(out)
    check_figures(found, data, ("times 100,",))
    check_alone(found)
    paths = {path for path, _ in found.shown}
    for i, row in enumerate(data["scores"]):
        for m in range(models):
            assert f"scores.{i}.models.{m}.value" in paths
            assert row["models"][m]["low"] is None or f"scores.{i}.models.{m}.high" in paths
        assert models == 1 or f"scores.{i}.difference.value" in paths
    figures_ = captioner.evaluate(predictions, references)
    assert {row["name"]: row["models"][0]["value"] for row in data["scores"]} == figures_
    if models == 2:
        other = captioner.evaluate(baseline, references)
        assert {row["name"]: row["models"][1]["value"] for row in data["scores"]} == pytest.approx(other)
        each = {row["image"]: row["CIDEr-D"] for row in data["images"]}
        mean = np.mean([values[1] for values in each.values()])
        assert mean == pytest.approx(other["CIDEr-D"]) and list(each) == list(predictions)
        for example in (example for group in data["examples"] for example in group["images"]):
            assert example["models"][1]["caption"] == baseline[example["image"]]
    # Each image of each group: the image itself, and for the first model two kinds of maps.
    shown = sum(len(group["images"]) for group in data["examples"])
    jpegs = [s for s in found.attributes("src") if s.startswith("data:image/jpeg")]
    assert len(jpegs) == 3 * shown and data["not_shown"] == 0 and data["attention"][0] == data["wanted"]
    with PIL.Image.open(io.BytesIO(base64.b64decode(jpegs[0].split(",")[1]))) as image:
        assert image.size == (320, 240)
    assert ("no maps" in found.rest) == (models == 2)
    titles = " ".join(found.rest.split())
    for title in ("Best", "In the middle", "Worst", "Confused words", "Most frequent captions"):
        assert title in titles
    # A chart for each theme.
    assert len(charts(found)) == 2 * (2 if models == 1 else 3)
    assert all("Date" not in chart and "<?xml" not in chart for chart in charts(found))


def test_the_check_of_figures_can_fail(tmp_path):
    out = captioner.report(*world(), tmp_path / "r.html", resamples=10)
    found, data = read(out)
    data["scores"][0]["models"][0]["value"] += 0.2
    with pytest.raises(AssertionError):
        check_figures(found, data, ("times 100,",))
    with pytest.raises(AssertionError, match="without a place"):
        check_figures(Page(found.text.replace("Missed</th>", "Missed 7</th>")), read(out)[1], ("times 100,",))
    with pytest.raises(AssertionError):
        check_alone(Page(found.text.replace('src="data:', 'src="x:', 1)))


def test_the_same_captions_make_the_same_files(tmp_path, photos):
    made = [captioner.report(*world(), tmp_path / name / "r.html", images=photos) for name in "ab"]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].with_suffix(".json").read_bytes() == made[1].with_suffix(".json").read_bytes()
    assert sorted(p.name for p in made[0].parent.iterdir()) == ["r.html", "r.json"]


def test_nothing_that_users_wrote_becomes_markup(tmp_path):
    nasty = """<script>alert("1")</script> & 'x' $a_1$ ]]>"""
    predictions = {f"{nasty}{i}": f"{nasty} dog {i % 3}" for i in range(7)}
    references = {name: [f"A {nasty} .", "<b onload=x>cat</b>"] for name in predictions}
    baseline = {name: f"{text} & more" for name, text in predictions.items()}
    out = captioner.report(
        predictions, references, tmp_path / "r.html", baseline, {}, (nasty, "<i>"), resamples=10
    )
    found, data = read(out)
    check_alone(found)
    assert data["names"][0] == nasty
    assert "<script" not in found.text and "<b onload" not in found.text and "<i>" not in found.text
    shown = dict(found.shown)
    assert shown["names.0"] == nasty and shown["examples.0.images.0.image"].startswith(nasty)
    for chart in charts(found):
        assert "<script" not in chart


@pytest.mark.parametrize("form", ["folder", "paths", "mapping", "list"])
def test_images_are_found(tmp_path, photos, form):
    predictions, references = world()
    images = photos
    if form == "paths":
        predictions, references = (
            {f"{photos}/{name}": value for name, value in each.items()} for each in (predictions, references)
        )
        images = None
    elif form == "mapping":
        images = {name: (photos / name).read_bytes() for name in predictions}
    elif form == "list":
        images = dict(enumerate(photos / name for name in predictions))
        predictions, references = list(predictions.values()), list(references.values())
    data = read(captioner.report(predictions, references, tmp_path / "r.html", images=images, resamples=10))[
        1
    ]
    assert data["not_shown"] == 0 and data["wanted"] == 12


def test_an_id_without_an_ending_and_a_path_from_elsewhere_are_found(tmp_path, photos):
    predictions, references = world()
    names = [f"/elsewhere/{n}" if i % 2 else n.removesuffix(".png") for i, n in enumerate(predictions)]
    predictions = dict(zip(names, predictions.values(), strict=True))
    references = dict(zip(names, references.values(), strict=True))
    assert (
        read(captioner.report(predictions, references, tmp_path / "r.html", images=photos))[1]["not_shown"]
        == 0
    )


def test_images_that_cannot_be_read_are_told(tmp_path, photos, capsys):
    predictions, references = world()
    (photos / "1.png").unlink()
    (photos / "2.png").write_text("no image at all")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:200])
    found, data = read(captioner.report(predictions, references, tmp_path / "r.html", images=photos))
    check_figures(found, data, ("times 100,",))
    assert (data["not_shown"], data["wanted"]) == (3, 12) and "could not be found or read" in found.rest
    problems = {p["image"]: p["problem"] for g in data["examples"] for p in g["images"] if p["problem"]}
    assert "no such image file" in problems["1.png"] and "got text" in problems["2.png"]
    assert "truncated PNG" in problems["3.png"]
    files = caption_files(tmp_path, predictions, references)
    assert main(["evaluate", *files, "--images", str(photos), "--html", str(tmp_path / "c.html")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("captioner: 3 of its 12 images cannot be read")


# --- the command ----------------------------------------------------------------------------------


def caption_files(folder, predictions, references, name="p"):
    (folder / f"{name}.json").write_text(json.dumps(predictions))
    (folder / "refs.json").write_text(json.dumps(references))
    return [str(folder / f"{name}.json"), str(folder / "refs.json")]


@pytest.mark.parametrize("more", [[], ["--json"], ["--metric", "rouge_l"]])
def test_the_command_prints_what_it_prints_without_a_page(tmp_path, capsys, more):
    files = caption_files(tmp_path, *world())
    assert main(["evaluate", *files, *more]) == 0
    plain = capsys.readouterr().out
    assert (
        main(["evaluate", *files, *more, "--html", str(tmp_path / "r.html"), "--images", str(tmp_path)]) == 0
    )
    out, err = capsys.readouterr()
    if more[:1] == ["--metric"]:
        assert out.startswith(plain.splitlines()[0]) and "CIDEr-D" in out  # images are ordered by it
    else:
        assert out == plain
    assert f"report: {tmp_path / 'r.html'}, scores: {tmp_path / 'r.json'}" in err
    assert read(tmp_path / "r.html")[1]["names"] == ["p"]


def test_the_command_compares_two_files(tmp_path, capsys):
    files = caption_files(tmp_path, *world())
    (tmp_path / "other").mkdir()
    other, _ = caption_files(tmp_path / "other", world(wrong=0.9)[0], {})
    command = ["evaluate", *files, "--baseline", other, "--html", str(tmp_path / "r.html")]
    assert main(command) == 0
    assert read(tmp_path / "r.html")[1]["names"] == [tmp_path.name, "other"]
    capsys.readouterr()
    assert main(command) == 2
    assert "r.html is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    # Predictions under the JSON's name are not a report's.
    assert main(["evaluate", *files, "--html", str(tmp_path / "p.html"), "--overwrite"]) == 2
    out, err = capsys.readouterr()
    assert "p.json is no JSON of a report, and would be lost" in err and json.loads(
        Path(files[0]).read_text()
    )
    for option in (["--baseline", other], ["--images", "x"], ["--overwrite"]):
        assert main(["evaluate", *files, *option]) == 2
        assert (
            capsys.readouterr().err
            == f"captioner: {option[0]} applies to the report: pass --html OUT.html too\n"
        )


def test_what_is_refused(tmp_path, monkeypatch):
    predictions, references = world()

    def refused(error, words, **options):
        out = options.pop("out", tmp_path / "r.html")
        with pytest.raises(error, match=words) as caught:
            captioner.report(predictions, references, out, **{"resamples": 10} | options)
        assert "\n" not in str(caught.value) and not (tmp_path / "r.html").exists()

    refused(DataError, "end in .html, got .*r.htm", out=tmp_path / "r.htm")
    refused(DataError, "there is no such folder", images=tmp_path / "nowhere")
    refused(SpecError, "resamples expects a whole number of at least 2, got 1", resamples=1)
    refused(SpecError, "list of 2 names", baseline=predictions, names=["a"])
    refused(
        DataError,
        "^b: cannot evaluate: 1 predictions without references: 'x'",
        baseline=predictions | {"x": "a"},
    )
    refused(DataError, "^b: .* no prediction", baseline=dict(itertools.islice(predictions.items(), 3)))
    refused(SpecError, "unknown metric|no metric", metrics=["bluu"])
    (tmp_path / "file").write_text("")
    refused(DataError, "cannot write", out=tmp_path / "file" / "r.html")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(MissingDependency, r"'jinja2'.*captioner\[report\]")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(MissingDependency, r"'matplotlib'.*captioner\[report\]")


def test_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    out = captioner.report(*world(), tmp_path / "r.html", resamples=10)
    before = out.read_bytes()
    monkeypatch.setattr(atomic.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(DataError, match="disk full"):
        captioner.report(*world(seed=1), out, overwrite=True, resamples=10)
    assert out.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "r.json"]


# --- where a model looked -------------------------------------------------------------------------


def test_attention_goes_from_the_command_to_the_report(tmp_path, photos, capsys, monkeypatch):
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(FakeEngine()))
    assert main(["caption", str(photos), "--json", "--attention"]) == 0
    text = capsys.readouterr().out
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(value == round(value, 4) for value in np.ravel(rows[0]["attention"]))
    (tmp_path / "p.jsonl").write_text(text)
    found = read_predictions(str(tmp_path / "p.jsonl"))
    for row in rows:
        caption, again = api.Captioner(FakeEngine()).caption(row["image"]), found[row["image"]]
        assert again.words == caption.words and again.word_logp == caption.word_logp
        assert again.attention == pytest.approx(caption.attention, abs=6e-5)
    (tmp_path / "refs.json").write_text(json.dumps({name: ["a small red dog"] for name in found}))
    files = [str(tmp_path / "p.jsonl"), str(tmp_path / "refs.json")]
    assert main(["evaluate", *files, "--html", str(tmp_path / "r.html")]) == 0
    assert read(tmp_path / "r.html")[1]["attention"] == [12]


def test_attention_needs_json_and_is_null_without_any(tmp_path, photos, capsys, monkeypatch):
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(FakeEngine()))
    assert main(["caption", str(photos), "--attention"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["caption", str(photos / "1.png"), "--json"]) == 0
    assert "attention" not in json.loads(capsys.readouterr().out)
    monkeypatch.setattr(
        FakeEngine, "_caption", staticmethod(lambda image, spec: Caption("a dog", words=("a", "dog")))
    )
    assert main(["caption", str(photos / "1.png"), "--json", "--attention"]) == 0
    assert json.loads(capsys.readouterr().out)["attention"] is None


FINE = {"image": "1.jpg", "caption": "a dog", "words": ["a", "dog"], "word_logp": [-1, -2.5]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"words": None}, "expected words, a list of strings"),
        ({"words": ["a", 7]}, "expected words, a list of strings"),
        ({"word_logp": [-1]}, "expected word_logp, 2 log-probabilities"),
        ({"word_logp": [-1, "x"]}, "expected word_logp"),
        ({"word_logp": [-1, 20]}, "expected word_logp"),
        ({"word_logp": [-1, float("nan")]}, "not a line of JSON: NaN"),
        ({"attention": [[[0.5]]]}, "expected attention, 2 maps"),
        ({"attention": [[0.5], [0.5]]}, "expected attention"),
        ({"attention": [[[0.5]], [[0.5, 0.5]]]}, "expected attention"),
        ({"attention": [[["x"]], [["y"]]]}, "expected attention"),
        ({"attention": [[[-0.5]], [[0.5]]]}, "expected attention"),
        ({"attention": [[[float("inf")]], [[0.5]]]}, "not a line of JSON: Infinity"),
        ({"attention": [[], []]}, "expected attention"),
        ({"attention": "x"}, "expected attention"),
    ],
)
def test_malformed_attention_is_told_with_its_place(tmp_path, change, words):
    row = FINE | {"attention": [[[0.5, 0.5]], [[0.1, 0.9]]]}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    assert read_predictions(str(path))["1.jpg"].attention.shape == (2, 1, 2)
    path.write_text(json.dumps(FINE | {"image": "0.jpg"}) + "\n" + json.dumps(row | change))
    with pytest.raises(DataError, match=f"p.jsonl:2: {words}") as caught:
        read_predictions(str(path))
    assert "\n" not in str(caught.value)


def test_captions_without_attention_are_read_as_ever(tmp_path):
    path = tmp_path / "p.jsonl"
    for more in ({}, {"attention": None}, {"words": 5}, {"attention": [], "words": []}):
        path.write_text(json.dumps(FINE | more))
        assert read_predictions(str(path))["1.jpg"].attention is None


# --- the parts ------------------------------------------------------------------------------------


def test_a_page_can_only_show_what_the_data_has():
    with pytest.raises(KeyError):
        page.look_up({"a": [1]}, "b.0")
    text = page.render("parts.html.j2", {})
    assert "data-path" not in text
    assert page.formatted(1234567) == "1,234,567" and page.formatted(True) == "yes"


def test_the_wheel_has_the_templates():
    """Whatever lies in a package of the wheel and is no Python is named by its package data."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for path in (ROOT / "captioner").rglob("*.j2"):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        patterns = setup["package-data"].get(package, [])
        assert any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns), f"{path} is in no wheel"
    names = {path.name for path in (ROOT / "captioner/reports").glob("*.j2")}
    assert names == {"base.html.j2", "evaluation.html.j2", "parts.html.j2"}


def test_a_browser_opens_it_without_a_network(tmp_path, photos, chromium):
    predictions, references = world()
    predictions = {name: attended(text) for name, text in predictions.items()}
    out = captioner.report(
        predictions, references, tmp_path / "r.html", world(wrong=0.9)[0], photos, resamples=10
    )
    for scheme, width in (("light", 1200), ("dark", 360)):
        context = chromium.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        tab, said, asked = context.new_page(), [], []
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(out.as_uri())
        tab.evaluate("for (const i of document.images) i.loading = 'eager'")
        tab.wait_for_function("[...document.images].every(i => i.complete)")
        assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, (
            "the page is wider than the screen"
        )
        assert not said and [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
        context.close()
