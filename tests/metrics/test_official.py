"""Our scores against pycocoevalcap, and its programs."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from captioner.errors import EngineError, MissingDependency
from captioner.metrics import METRICS, evaluate
from tests.support.metric_inputs import needs_java, needs_official, random_captions


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_equal_those_of_pycocoevalcap(seed):
    needs_official()
    from captioner.metrics.official import official_scores

    candidates, references = random_captions(images=300, seed=seed)
    theirs = official_scores(candidates, references, meteor=False)
    for name in ("bleu", "rouge_l", "cider_d"):
        ours = METRICS.build(name).score(candidates, references)
        assert ours.corpus == pytest.approx(theirs[name].corpus, abs=1e-6)
        assert min(ours.corpus.values()) > 1  # not all scores are 0
        for metric, values in ours.per_image.items():
            # Where an n-gram order has no match theirs is not quite 0 (see bleu.py).
            real = values > 0
            np.testing.assert_allclose(values[real], theirs[name].per_image[metric][real], atol=1e-4)
            assert real.mean() > 0.2


@needs_java
def test_ptb_words_equal_those_of_pycocoevalcap(capfd):
    needs_official()
    from pycocoevalcap.tokenizer import ptbtokenizer

    from captioner.metrics.official import ptb_words

    texts = [
        'A man\'s t-shirt , says "hello" !',
        "do n't stop (please) ; ok ...",
        "U.S. Army 3.5 & co.",
        "a café",
        "plain words",
        "It's 5 o'clock -- somewhere",
    ]
    if not os.access(os.path.dirname(ptbtokenizer.__file__), os.W_OK):
        pytest.skip("their wrapper writes into its package, which is read-only here")
    theirs = ptbtokenizer.PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(texts)})
    capfd.readouterr()
    assert [" ".join(words) for words in ptb_words(texts)] == [theirs[i][0] for i in range(len(texts))]
    # Line ends of any kind inside a caption do not shift the captions after it.
    odd = ["a\u2028dog", "a\x85cat\x0b", "", "last\r\none"]
    assert ptb_words(odd) == [["a", "dog"], ["a", "cat"], [], ["last", "one"]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@needs_java
def test_meteor_equals_that_of_pycocoevalcap():
    needs_official()
    from pycocoevalcap.meteor.meteor import Meteor as Theirs

    candidates, references = random_captions(images=12, seed=2)
    ours = METRICS.build("meteor").score(candidates, references)
    theirs = Theirs()
    try:
        corpus, per_image = theirs.compute_score(
            {i: [" ".join(c) for c in image] for i, image in enumerate(references)},
            {i: [" ".join(c)] for i, c in enumerate(candidates)},
        )
    finally:
        for pipe in (theirs.meteor_p.stdout, theirs.meteor_p.stderr):
            pipe.close()
    assert ours.corpus["METEOR"] == pytest.approx(100 * corpus) and corpus > 0.1
    np.testing.assert_allclose(ours.per_image["METEOR"], 100 * np.array(per_image))


@needs_java
def test_official_scores_leave_no_files_or_processes(capfd, monkeypatch):
    needs_official()
    import pycocoevalcap.tokenizer.ptbtokenizer as theirs

    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    folder = os.path.dirname(theirs.__file__)
    before = sorted(os.listdir(folder))
    predictions = {"a": "A dog runs in the snow .", "b": "two men's hats", "c": ""}
    references = {
        "b": ["Two men 's hats ."],
        "a": ["The dog runs on snow .", "A dog in snow"],
        "c": ["a shirt"],
    }
    scores = evaluate(predictions, references, official=True, allow_empty=True)
    official = {k.removeprefix("official "): v for k, v in scores.items() if k.startswith("official ")}
    assert set(official) == {*(f"BLEU-{k}" for k in range(1, 5)), "ROUGE-L", "CIDEr-D", "METEOR"}
    for name in ("BLEU-1", "ROUGE-L", "CIDEr-D"):  # these tokens are alike on both sides
        assert official[name] == pytest.approx(scores[name], abs=0.01)
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(folder)) == before
    assert len(started) == 2 and all(process.poll() is not None for process in started)


def test_without_java_official_scores_are_one_line(monkeypatch):
    needs_official()
    monkeypatch.setenv("PATH", "/nowhere")
    for call in (
        lambda: evaluate(["a dog"], [["a dog"]], official=True),
        lambda: evaluate(["a dog"], [["a dog"]], metrics=["meteor"]),
    ):
        with pytest.raises(MissingDependency, match="needs Java") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_missing_package_names_its_extra(monkeypatch):
    for module, extra, options in [
        ("pycocoevalcap.tokenizer.ptbtokenizer", "official", {"official": True}),
        ("nltk.translate", "train", {"metrics": ["bleu"]}),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependency, match=rf"captioner\[{extra}\]"):
            evaluate(["a dog"], [["a dog"]], **options)


@pytest.mark.parametrize("script", ["exit 3", "echo one; exit 0"])
def test_a_failure_of_java_is_one_line(monkeypatch, tmp_path, script):
    needs_official()
    from captioner.metrics.official import ptb_words

    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(java.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for call in (
        lambda: ptb_words(["a dog", "a cat"]),
        lambda: METRICS.build("meteor").score([["a", "dog"]], [[["a", "dog"]]]),
    ):
        with pytest.raises(EngineError, match="java") as caught:
            call()
        assert "\n" not in str(caught.value)
