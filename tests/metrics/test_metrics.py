"""The metrics: by hand, by property, and against pycocoevalcap, which we did not write."""

import itertools
import json
import math
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from captioner.errors import CaptionerError, DataError, EngineError, MissingDependency, SpecError
from captioner.metrics import DEFAULT_METRICS, METRICS, CiderD, evaluate
from captioner.metrics.bleu import Bleu
from captioner.metrics.rouge_l import RougeL, longest_common_subsequence
from captioner.registry import parse_spec
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK, Caption

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
JAVA_ROWS = {"meteor"}


def needs_official():
    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap is not installed")


def made_up_world(images=300, seed=0, shortest=1):
    """Captions of random scenes: shared phrases, repeated words, 1 to 14 words, 1 to 5 captions an image."""
    rng = random.Random(seed)
    nouns = ["dog", "man", "girl", "ball", "horse", "boat"]
    places = ["on a beach", "in the snow", "near the water", "with a red ball", "of the the the"]
    verbs = ["runs", "is running", "sits", "jumps over a log", ""]

    def caption(noun):
        start = [rng.choice(["a", "the", "two", ""]), rng.choice(["big", "brown", ""]), noun]
        found = " ".join([*start, rng.choice(verbs), rng.choice([*places, ""])]).split()
        return found[: rng.randint(shortest, 14)] if rng.random() < 0.3 else found

    candidates, references = [], []
    for _ in range(images):
        noun = rng.choice(nouns)
        references.append([caption(noun) for _ in range(rng.randint(1, 5))])
        if rng.random() < 0.1:
            candidates.append(list(rng.choice(references[-1])))
        else:
            candidates.append(caption(noun if rng.random() < 0.8 else f"zebra {noun} {noun}"))
    return candidates, references


def slow_cider(candidates, references, corpus=None, n=4, sigma=6.0):
    """CIDEr-D written down from the paper's equations, caption by caption."""
    corpus = references if corpus is None else corpus

    def grams(words, k):
        return Counter(tuple(words[i : i + k]) for i in range(len(words) - k + 1))

    def vector(words, k):
        return {
            g: count * (math.log(len(corpus)) - math.log(max(1, df[g])))
            for g, count in grams(words, k).items()
        }

    def norm(v):
        return math.sqrt(sum(x * x for x in v.values()))

    df = Counter()
    for captions in corpus:
        df.update({g for c in captions for k in range(1, n + 1) for g in grams(c, k)})
    scores = []
    for candidate, captions in zip(candidates, references, strict=True):
        total = 0.0
        for reference, k in itertools.product(captions, range(1, n + 1)):
            c, s = vector(candidate, k), vector(reference, k)
            apart = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
            if norm(c) and norm(s):
                dot = sum(min(x, s.get(g, 0.0)) * s.get(g, 0.0) for g, x in c.items())
                total += dot / (norm(c) * norm(s)) * math.exp(-(apart**2) / (2 * sigma**2))
        scores.append(10 * total / (n * len(captions)))
    return np.array(scores)


# --- every row of the table -----------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS.names())
def test_every_row_scores_the_corpus_and_says_what_it_is(name):
    if name in JAVA_ROWS:
        needs_official()
        if shutil.which("java") is None:
            pytest.skip("Java is not installed")
    candidates, references = made_up_world(images=6, shortest=3)
    scores = METRICS.build(name).score(candidates, references)
    assert scores.corpus and all(math.isfinite(v) for v in scores.corpus.values())
    assert set(scores.per_image) <= set(scores.corpus)
    assert all(values.shape == (6,) for values in scores.per_image.values())
    assert METRICS.describe()[name]
    for wrong in (([], []), (candidates[:2], references), (candidates, [*references[:-1], []])):
        with pytest.raises(DataError) as caught:
            METRICS.build(name).score(*wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="lists of words"):
        METRICS.build(name).score(["a dog"], [[["a", "dog"]]])


@pytest.mark.parametrize("name", ["bleu", "rouge_l", "cider_d", "exact_match"])
def test_a_perfect_caption_beats_a_shuffled_one_beats_another_images(name):
    rng = random.Random(3)
    _, references = made_up_world(images=60, shortest=6)
    references = [
        [c for c in captions if len(c) > 4] or [["a", "lone", "zebra", "sleeps", "here"]]
        for captions in references
    ]
    perfect = [captions[0] for captions in references]
    shuffled = [rng.sample(c, len(c)) for c in perfect]
    other = perfect[1:] + perfect[:1]
    metric = METRICS.build(name)
    values = [list(metric.score(c, references).corpus.values()) for c in (perfect, shuffled, other)]
    for best, middle, worst in zip(*values, strict=True):
        assert best > middle or best == middle == 100  # BLEU-1 does not see order
        if name in ("rouge_l", "cider_d"):
            assert middle > worst
    assert values[0][-1] > values[1][-1]


# --- by hand --------------------------------------------------------------------------------------


def test_bleu_by_hand():
    # 1-grams: the x2 of 3 (clipped to 2), cat 1 of 1 -> 3 of 4; 2-grams: "the cat" of 3; nothing longer.
    scores = Bleu().score([["the", "the", "the", "cat"]], [[["the", "cat", "saw", "the", "dog"]]])
    brevity = math.exp(1 - 5 / 4)
    assert scores.corpus["BLEU-1"] == pytest.approx(100 * brevity * 3 / 4)
    assert scores.corpus["BLEU-2"] == pytest.approx(100 * brevity * math.sqrt(3 / 4 * 1 / 3))
    assert scores.corpus["BLEU-3"] == scores.corpus["BLEU-4"] == 0


def test_bleu_is_of_the_corpus_and_takes_the_shorter_of_two_closest_lengths():
    candidates = [["a", "b", "c"], ["d"]]
    references = [[["a", "b"], ["a", "b", "c", "d"]], [["d", "e", "f"]]]
    # Lengths 3 + 1; closest 2 (a tie with 4) + 3 = 5; all four words match.
    assert Bleu(n=1).score(candidates, references).corpus["BLEU-1"] == pytest.approx(
        100 * math.exp(1 - 5 / 4)
    )


def test_bleu_counts_no_ngram_in_a_caption_too_short_for_one():
    nltk_bleu = pytest.importorskip("nltk.translate.bleu_score")
    long = list("abcdefg")
    candidates, references = [long, ["a", "dog"]], [[long], [["a", "dog"]]]
    assert Bleu().score(candidates, references).corpus["BLEU-4"] == pytest.approx(100)
    assert nltk_bleu.corpus_bleu(references, candidates) < 0.95  # what using it as it is would give


def test_rouge_l_by_hand():
    # LCS with the first reference "a dog on grass" 3 of 4 and 3 of 4; with the second "dog" 1 of 1.
    scores = RougeL().score([["a", "dog", "on", "sand"]], [[["a", "dog", "on", "grass"], ["dog"]]])
    precision, recall = 3 / 4, 1.0
    assert scores.corpus["ROUGE-L"] == pytest.approx(
        100 * 2.44 * precision * recall / (recall + 1.44 * precision)
    )
    assert RougeL().score([["x"]], [[["y"]]]).corpus["ROUGE-L"] == 0


def test_longest_common_subsequence_equals_the_textbook():
    rng = random.Random(0)
    for _ in range(500):
        first, second = (rng.choices("abcd", k=rng.randint(0, 9)) for _ in range(2))
        table = np.zeros((len(first) + 1, len(second) + 1), int)
        for i, j in itertools.product(range(len(first)), range(len(second))):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if first[i] == second[j] else max(table[i, j + 1], table[i + 1, j])
            )
        assert longest_common_subsequence(first, second) == table[-1, -1]


def test_cider_by_hand():
    # Two images; every word is in one image only, so idf = ln 2 for all and cancels.
    # Candidate a b against "a c": 1-grams share 1 of 2 with equal lengths: cosine 1/2; 2-grams share none.
    candidates, references = [["a", "b"], ["x", "y"]], [[["a", "c"]], [["x", "y"]]]
    each = CiderD(n=2).score(candidates, references).per_image["CIDEr-D"]
    assert each == pytest.approx([1000 * (1 / 2 + 0) / 2, 1000])


def test_cider_penalises_length_and_clips_repetition():
    references = [[["a", "brown", "dog", "runs"]], [["two", "cats"]]]
    metric = CiderD()
    plain, repeated = (
        metric.score([c, ["two", "cats"]], references).per_image["CIDEr-D"][0]
        for c in (["a", "brown", "dog", "runs"], ["a", "brown", "dog", "runs"] * 3)
    )
    assert plain == pytest.approx(1000)
    assert repeated < 0.5 * plain


@pytest.mark.parametrize("images", [1, 3])
def test_cider_is_no_figure_where_every_caption_would_score_zero(images):
    dog, alike = [["a", "dog"]], [[["a", "dog"], ["dogs"]]] * images
    with pytest.warns(UserWarning, match=f"no CIDEr-D: .* got {'one' if images == 1 else images}") as warned:
        scores = CiderD().score(dog * images, alike)
    assert "\n" not in str(warned[0].message) and len(warned) == 1
    assert np.isnan(scores.corpus["CIDEr-D"]) and np.isnan(scores.per_image["CIDEr-D"]).all()
    # Document frequencies from elsewhere make it one.
    corpus = [[["a", "cat"]], [["a", "dog"]]]
    assert CiderD(corpus=corpus).score(dog * images, alike).corpus["CIDEr-D"] > 0
    # One n-gram that is not everywhere is enough, as for coco-caption.
    assert CiderD().score([["a"], ["a"]], [[["a"]], [["a", "b"]]]).corpus["CIDEr-D"] == 0


def test_ids_that_only_look_different_are_named():
    for left, right, words in (
        (
            "cafe\u0301.png",
            "caf\u00e9.png",
            r"'cafe\\u0301.png' and 'café.png' have the same name in another Unicode form",
        ),
        ("val/one.jpg", "one.jpg", "'val/one.jpg' and 'one.jpg' have the same base name"),
        (1, "1", "1 and '1' have the same name"),
        ("7.0", "COCO_val2014_000000000007.jpg", "have the same number"),
    ):
        with pytest.raises(
            DataError, match=f"1 predictions without references: .*{words}.*: spell them alike"
        ) as error:
            evaluate({left: "a dog"}, {right: ["a dog"]})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [None, "a dog", 5, {"a dog"}, iter(["a dog"])])
def test_what_is_neither_a_mapping_nor_a_list_is_refused(values):
    for predictions, references in ((values, [["a dog"]]), (["a dog"], values), (values, values)):
        with pytest.raises(DataError, match="both mappings by id or both lists, got"):
            evaluate(predictions, references)


@pytest.mark.parametrize(
    "metrics, words",
    [
        ("bleu", r"a list of metrics such as \['bleu'\]"),
        (["pathlib:Path"], "a metric, which has a method score, got pathlib:Path"),
        (["textwrap:fill"], "metric 'textwrap:fill' cannot be built: .* argument"),
    ],
)
def test_what_is_no_metric_is_one_line(metrics, words):
    with pytest.raises(SpecError, match=words):
        evaluate(["a dog"], [["a dog"]], metrics=metrics)


# --- CIDEr-D: the fast path -----------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4])
def test_cider_equals_the_equations(n):
    candidates, references = made_up_world(images=80, seed=1)
    candidates[3] = []
    candidates[4] = ["never", "seen", "never", "seen", "before"]
    expected = slow_cider(candidates, references, n=n)
    np.testing.assert_allclose(
        CiderD(n=n).score(candidates, references).per_image["CIDEr-D"] / 100, expected, atol=1e-9
    )
    assert expected.max() > 1 and expected[3] == expected[4] == 0


def test_cider_of_references_too_short_for_an_ngram():
    """No reference of four words: there is no table of 4-grams, whatever the candidates hold."""
    references = [[["a", "dog", "runs"], ["a", "red", "dog"]], [["a", "cat", "sits"]], [["the", "grass"]]]
    candidates = [["a", "dog", "runs"], ["a", "big", "cat", "sits", "on", "grass"], ["the", "grass"]]
    found = CiderD().score(candidates, references)
    np.testing.assert_allclose(found.per_image["CIDEr-D"], 100 * np.array(slow_cider(candidates, references)))
    assert found.per_image["CIDEr-D"][0] > 0


def test_cider_with_the_frequencies_of_another_corpus():
    candidates, references = made_up_world(images=40, seed=2)
    _, corpus = made_up_world(images=90, seed=3)
    each = CiderD(corpus=corpus).score(candidates, references).per_image["CIDEr-D"] / 100
    np.testing.assert_allclose(each, slow_cider(candidates, references, corpus), atol=1e-9)
    assert abs(each - slow_cider(candidates, references)).max() > 0.01
    # A single image has a score once the frequencies come from elsewhere.
    assert CiderD(corpus=corpus).score(candidates[:1], references[:1]).corpus["CIDEr-D"] == pytest.approx(
        100 * each[0]
    )


def test_cider_counting_the_end_is_cider_with_one_more_word():
    candidates, references = made_up_world(images=40, seed=4)
    ended = [[*c, "<END>"] for c in candidates], [[[*c, "<END>"] for c in image] for image in references]
    counted = CiderD(count_end=True).score(candidates, references).per_image["CIDEr-D"]
    np.testing.assert_allclose(counted / 100, slow_cider(*ended), atol=1e-9)


def test_reward_scores_any_candidates_of_any_images_in_any_order():
    _, references = made_up_world(images=50, seed=5)
    candidates, _ = made_up_world(images=200, seed=6)
    images = np.random.default_rng(0).integers(0, 50, 200)
    reward = CiderD().prepare(references)
    together = reward.words(candidates, images)
    # The equations score one candidate an image, so put the references of each choice side by side.
    expected = slow_cider(candidates, [references[i] for i in images], corpus=references)
    np.testing.assert_allclose(together, expected, atol=1e-9)
    one_by_one = [reward.words([c], [i])[0] for c, i in zip(candidates[:20], images[:20], strict=True)]
    np.testing.assert_allclose(one_by_one, together[:20], atol=1e-12)
    assert reward.words([], []).shape == (0,)


@pytest.mark.parametrize("count_end", [False, True])
def test_reward_of_ids_equals_reward_of_words(count_end):
    candidates, references = made_up_world(images=50, seed=7)
    tok = Tokenizer.fit([" ".join(c) for image in references for c in image] + ["zebra"], min_count=1)
    rows = [tok.encode(" ".join(c) or "zebra") for c in candidates]
    ids = np.full((50, max(map(len, rows)) + 2), PAD)
    for row, encoded in zip(ids, rows, strict=True):
        row[: len(encoded)] = encoded
        row[len(encoded) + 1 :] = 7  # whatever follows the end does not matter
    ids[:, -1] = END  # nor does a second end
    reward = CiderD(count_end=count_end).prepare(references, tok.vocabulary)
    spoken = [list(tok.words(row)) for row in ids]
    np.testing.assert_allclose(reward(ids, np.arange(50)), reward.words(spoken), atol=1e-12)
    started = np.concatenate([np.full((50, 1), START), ids], axis=1)
    np.testing.assert_allclose(reward(started, np.arange(50)), reward.words(spoken), atol=1e-12)


def test_reward_prefers_a_finished_caption_to_a_cut_one_only_if_the_end_counts():
    references = [[["a", "man", "on", "a", "horse"]], [["two", "dogs"]]]
    vocabulary = ["<pad>", "<start>", "<end>", "<unk>", "a", "man", "on", "horse"]
    finished, cut = [4, 5, 6, 4, 7, END], [4, 5, 6, 4, 7, PAD]
    for count_end in (False, True):
        reward = CiderD(count_end=count_end).prepare(references, vocabulary)
        whole, broken = reward(np.array([finished, cut]), [0, 0])
        assert whole == pytest.approx(10)
        assert broken < 9 if count_end else broken == pytest.approx(10)


def test_reward_never_pays_for_unk():
    references = [[["a", "wombat"]], [["a", "<unk>"]], [["two", "dogs"]]]
    tok = Tokenizer(["a", "dogs"])
    reward = CiderD().prepare(references, tok.vocabulary)
    a, unk = tok.id("a"), UNK
    scores = reward(np.array([[a, unk], [a, unk], [a, a]]), [0, 1, 0])
    alone = reward(np.array([[unk, unk]] * 2), [0, 1])
    assert scores[0] == pytest.approx(scores[1]) and not alone.any()


def test_reward_is_quick_enough_to_train_with():
    _, references = made_up_world(images=300, seed=8)
    candidates, _ = made_up_world(images=3000, seed=9)
    reward = CiderD().prepare(references)
    images = np.arange(3000) % 300
    seconds = min(_seconds(lambda: reward.words(candidates, images)) for _ in range(3))
    assert 3000 / seconds > 5000, f"{3000 / seconds:.0f} captions a second"


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_reward_refuses_what_does_not_fit():
    references = [[["a", "dog"]], [["a", "cat"]]]
    tok = Tokenizer(["a", "dog"])
    reward = CiderD().prepare(references, tok.vocabulary)
    for call, message in [
        (lambda: CiderD().prepare(references)(np.array([[4]]), [0]), "vocabulary"),
        (lambda: reward(np.array([4, 5]), [0]), r"\[N, T\]"),
        (lambda: reward(np.array([[4, 5]]), [0, 1]), r"\[N, T\]"),
        (lambda: reward(np.array([[4, 6]]), [0]), "another vocabulary"),
        (lambda: reward(np.array([[4, 5]]), [2]), "images from 0 to 1"),
        (lambda: reward.words([["a"]], [0, 1]), "1 candidates"),
        (lambda: CiderD().prepare([]), "at least one image"),
        (lambda: CiderD().prepare([[["a"]], []]), "every image"),
        (lambda: CiderD(corpus=[]).prepare(references), "corpus"),
    ]:
        with pytest.raises(DataError, match=message):
            call()
    for wrong in ({"n": 0}, {"sigma": 0.0}):
        with pytest.raises(SpecError):
            CiderD(**wrong)


# --- against pycocoevalcap ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_figures_equal_those_of_pycocoevalcap_on_the_same_words(seed):
    needs_official()
    from captioner.metrics.official import official_scores

    candidates, references = made_up_world(images=300, seed=seed)
    theirs = official_scores(candidates, references, meteor=False)
    for name in ("bleu", "rouge_l", "cider_d"):
        ours = METRICS.build(name).score(candidates, references)
        assert ours.corpus == pytest.approx(theirs[name].corpus, abs=1e-6)
        assert min(ours.corpus.values()) > 1  # else they could agree on nothing
        for figure, values in ours.per_image.items():
            # Where an n-gram order has no match theirs is not quite 0 (see bleu.py).
            real = values > 0
            np.testing.assert_allclose(values[real], theirs[name].per_image[figure][real], atol=1e-4)
            assert real.mean() > 0.2


@needs_java
def test_ptb_words_equal_the_tokeniser_of_pycocoevalcap(capfd):
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
    assert [" ".join(found) for found in ptb_words(texts)] == [theirs[i][0] for i in range(len(texts))]
    # Line ends of any kind inside a caption do not shift the captions after it.
    odd = ["a\u2028dog", "a\x85cat\x0b", "", "last\r\none"]
    assert ptb_words(odd) == [["a", "dog"], ["a", "cat"], [], ["last", "one"]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@needs_java
def test_meteor_equals_that_of_pycocoevalcap():
    needs_official()
    from pycocoevalcap.meteor.meteor import Meteor as Theirs

    candidates, references = made_up_world(images=12, seed=2)
    ours = METRICS.build("meteor").score(candidates, references)
    theirs = Theirs()
    try:
        figure, each = theirs.compute_score(
            {i: [" ".join(c) for c in image] for i, image in enumerate(references)},
            {i: [" ".join(c)] for i, c in enumerate(candidates)},
        )
    finally:
        for pipe in (theirs.meteor_p.stdout, theirs.meteor_p.stderr):
            pipe.close()
    assert ours.corpus["METEOR"] == pytest.approx(100 * figure) and figure > 0.1
    np.testing.assert_allclose(ours.per_image["METEOR"], 100 * np.array(each))


@needs_java
def test_official_figures_stand_beside_ours_and_leave_nothing_behind(capfd, monkeypatch):
    needs_official()
    import pycocoevalcap.tokenizer.ptbtokenizer as theirs

    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    folder = os.path.dirname(theirs.__file__)
    before = sorted(os.listdir(folder))
    predictions = {"a": "A dog runs in the snow .", "b": "two men's hats", "c": ""}
    references = {
        "b": ["Two men 's hats ."],
        "a": ["The dog runs on snow .", "A dog in snow"],
        "c": ["a shirt"],
    }
    figures = evaluate(predictions, references, official=True, allow_empty=True)
    official = {k.removeprefix("official "): v for k, v in figures.items() if k.startswith("official ")}
    assert set(official) == {*(f"BLEU-{k}" for k in range(1, 5)), "ROUGE-L", "CIDEr-D", "METEOR"}
    for name in ("BLEU-1", "ROUGE-L", "CIDEr-D"):  # these tokens are alike on both sides
        assert official[name] == pytest.approx(figures[name], abs=0.01)
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


def test_without_pycocoevalcap_or_nltk_the_extra_is_named(monkeypatch):
    for module, extra, options in [
        ("pycocoevalcap.tokenizer.ptbtokenizer", "official", {"official": True}),
        ("nltk.translate", "train", {"metrics": ["bleu"]}),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependency, match=rf"captioner\[{extra}\]"):
            evaluate(["a dog"], [["a dog"]], **options)


@pytest.mark.parametrize("script", ["exit 3", "echo one; exit 0"])
def test_java_that_fails_is_one_line(monkeypatch, tmp_path, script):
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


# --- diversity and endings ------------------------------------------------------------------------


def test_diversity_by_hand():
    predictions = ["A dog .", "a dog", "a cat runs", "two cats"]
    references = [["a dog"]] * 4
    figures = evaluate(predictions, references, metrics=["diversity"], training=["A cat runs ."])
    assert figures == {"unique captions": 75, "vocabulary": 6, "mean length": 9 / 4, "novel captions": 75}
    assert "novel captions" not in evaluate(predictions, references, metrics=["diversity"])


def test_bad_endings_are_function_words():
    predictions = ["a man in front of a", "a man with a red", "two dogs and", "a dog .", "the"]
    figures = evaluate(predictions, [["a dog"]] * 5, metrics=["bad_endings"])
    assert figures == {"bad endings": pytest.approx(60)}


# --- evaluate -------------------------------------------------------------------------------------


def test_evaluate_takes_mappings_lists_and_captions_alike():
    texts = ["A dog runs .", "two cats"]
    references = [["a dog runs", "the dog"], ["two brown cats", "a cat"]]
    by_list = evaluate(texts, references)
    by_id = evaluate(dict(zip("xy", texts, strict=True)), dict(zip("yx", references[::-1], strict=True)))
    captions = evaluate([Caption(text) for text in texts], tuple(map(tuple, references)))
    assert by_list == by_id == captions
    assert list(by_list) == [
        "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D",
        "unique captions", "vocabulary", "mean length", "bad endings",
    ]  # fmt: skip


def test_evaluate_normalises_both_sides():
    figures = evaluate(
        {1: "a man's T-SHIRT", 2: "x"}, {1: ["A man 's t shirt !"], 2: ["y"]}, metrics=["exact_match"]
    )
    assert figures == {"exact match": 50}


def test_evaluate_takes_specs_of_the_table():
    figures = evaluate(["a dog", "cats"], [["a dog"], ["dogs"]], metrics=["bleu(n=2)", parse_spec("rouge_l")])
    assert list(figures) == ["BLEU-1", "BLEU-2", "ROUGE-L"]
    with pytest.raises(SpecError, match="did you mean 'cider_d'"):
        evaluate(["a"], [["a"]], metrics=["cider"])
    assert set(DEFAULT_METRICS) <= set(METRICS)


GOOD = ["a dog"]


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({}, {}, "at least one prediction"),
        ([], [], "at least one prediction"),
        ({"a": "x", "b": "y"}, {"a": GOOD}, "1 predictions without references: 'b'"),
        ({"a": "x"}, {"a": GOOD, "b": GOOD, "c": GOOD}, "2 images with references but no prediction: 'b'"),
        ({i: "x" for i in range(9)}, {0: GOOD}, "8 predictions without references: 1, 2, 3, ..."),
        (["x"], [GOOD, GOOD], "got 1 predictions and 2 lists"),
        (["x"], {0: GOOD}, "got list and dict"),
        ({0: "x"}, [GOOD], "got dict and list"),
        ("x", [GOOD], "got str and list"),
        ({"a": "x", "b": "x"}, {"a": [], "b": GOOD}, "1 images without references: 'a'"),
        ({"a": "x"}, {"a": ["a dog", " . "]}, "1 references without a word: 'a'"),
        ({"a": "x"}, {"a": "a dog"}, "no list of strings: 'a'"),
        ({"a": "x"}, {"a": [["a", "dog"]]}, "no list of strings: 'a'"),
        ({"a": "x"}, {"a": None}, "no list of strings: 'a'"),
        ({"a": "x", "b": " . ", "c": ""}, dict.fromkeys("abc", GOOD), "2 predictions without a word: 'b', "),
        ({"a": None}, {"a": GOOD}, "1 predictions that are no string: 'a'"),
        ({"a": Caption("", error="gone")}, {"a": GOOD}, "1 predictions that are errors, not captions: 'a'"),
    ],
)  # fmt: skip
def test_evaluate_says_in_one_line_which_and_how_many(predictions, references, message):
    with pytest.raises(DataError) as caught:
        evaluate(predictions, references)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evaluate_can_let_a_model_say_nothing():
    figures = evaluate(["", "a dog"], [["a cat"], ["a dog"]], allow_empty=True)
    assert figures["ROUGE-L"] == 50 and figures["mean length"] == 1
    nothing = evaluate(["", ""], [["a cat"], ["a dog"]], allow_empty=True)
    assert {nothing[k] for k in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "bad endings")} == {0}


def test_importing_metrics_imports_neither_nltk_nor_tensorflow():
    code = (
        "import sys, captioner.metrics; "
        "print({'nltk', 'tensorflow', 'keras', 'pycocoevalcap'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


# --- the analysis metric_agreement -------------------------------------------------------------------------


def karpathy_file(path, captions):
    images = [
        {"filename": f"{i}.jpg", "split": "test", "sentences": [{"raw": c} for c in image]}
        for i, image in enumerate(captions)
    ]
    path.write_text(json.dumps({"images": images}))
    return str(path)


@pytest.mark.slow
@needs_java
def test_metric_agreement_prints_a_table(tmp_path, capsys):
    needs_official()
    from training import analyze

    _, references = made_up_world(images=8, shortest=3)
    captions = [[" ".join(c) + " ." for c in image] * 2 for image in references]
    assert analyze.main(["metric_agreement", "--captions", karpathy_file(tmp_path / "k.json", captions)]) == 0
    table = capsys.readouterr().out
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "METEOR"):
        assert f"\n{name}" in table
    worst = float(table.split("largest difference on the same tokens:")[1].split()[0])
    assert worst < 1e-6


@pytest.mark.parametrize(
    ("captions", "split", "message"),
    [
        (None, "test", "No such file"),
        ("{", "test", "Karpathy"),
        ([["a dog", "a cat"]], "val", "it holds: test"),
        ([["a dog"]], "test", "two captions or more"),
        ([["a dog", "a cat"]], "test", "Java"),
    ],
)
def test_metric_agreement_fails_in_one_line(tmp_path, capsys, monkeypatch, captions, split, message):
    needs_official()
    from training import analyze

    monkeypatch.setenv("PATH", "/nowhere")
    path = tmp_path / "k.json"
    if isinstance(captions, str):
        path.write_text(captions)
    elif captions:
        karpathy_file(path, captions)
    assert (
        analyze.main(["metric_agreement", "--captions", str(path), "--split", split])
        == CaptionerError.exit_code
    )
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
