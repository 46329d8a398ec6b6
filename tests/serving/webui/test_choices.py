"""What the page offers, and the limits on the strategies of visitors."""

import contextlib
import random
import shutil

import pytest

from tests.support.models.probability_worlds import random_world

pytest.importorskip("grpc")
pytest.importorskip("starlette")
import captioner
from captioner.decoding import RULES, STRATEGIES, generate
from captioner.errors import SpecError
from captioner.rerank import RERANKERS
from captioner.text import Tokenizer, words
from serving.webui.choices import check_strategy
from tests.support.serving.page_server import PHOTO, STRATEGY, PageServer, assert_same


def test_models_and_strategies(server, served):
    choices = server.get("/page/models").json()
    exported, extra = choices["models"]
    assert exported["name"] == "tiny" and exported["exported_strategy"] == STRATEGY
    assert extra["name"] == str(served[1]) and choices["max_bytes"] == 8 << 20
    assert exported["chooses_strategy"] and extra["chooses_strategy"]
    strategies = {row["name"]: row["options"] for row in choices["strategies"]}
    assert list(strategies) == STRATEGIES.names()
    assert strategies["beam"] == {"width": 3, "n_best": 1, "rerank": None} and strategies["greedy"] == {}
    assert strategies["sample"] == {"n": 1, "rerank": None} and "must_include" in strategies["constrained"]
    assert exported["default_strategy"] == "beam search, width 3, n best 3, min length 4"
    assert extra["default_strategy"] == ""  # not loaded yet
    # Those that need nothing fitted for a model; each runs with every model.
    names = [row["name"] for row in choices["rerankers"]]
    assert names == [name for name in RERANKERS if not RERANKERS[name].parameters]
    assert all(row["label"] not in ("", row["name"]) for row in choices["rerankers"])
    for name in names:
        assert check_strategy(f'beam(width=5, rerank="{name}")')
    # Every row has a label and a description of its own, not its docstring.
    docstrings = STRATEGIES.describe()
    assert all(row["label"] != row["name"] for row in choices["strategies"] if row["name"] != "greedy")
    assert all(row["description"] not in ("", docstrings[row["name"]]) for row in choices["strategies"])


@pytest.mark.parametrize(
    "strategy",
    [
        "greedy(min_length=2)",
        "beam(width=5, n_best=2)",
        "sample(n=7, seed=1)",
        "diverse(width=6, groups=3)",
        "beam(width=5, rerank='mbr')",
        "constrained(must_include=['dog', 'cat'], width=2, rerank='mbr')",
        "constrained(width=3)",
        "constrained(must_include=['dog'], width=2)",
        "constrained(must_include=['Cat dog', 'bee', 'cat, dog!', 'dog'], width=3)",
        "constrained(must_include=['ant bee cat dog'], width=4, banned=['elk'])",
    ],
)
def test_rows_equal_those_of_the_search(strategy):
    tokenizer = Tokenizer(["ant", "bee", "cat", "dog", "elk"])
    world = random_world(size=9, tokenizer=tokenizer)
    rows = set()
    step, world.step = world.step, lambda ids, *rest: rows.add(int(ids.shape[0])) or step(ids, *rest)
    generate(world, world.features([0]), strategy, 9, tokenizer)
    assert rows == {STRATEGIES.build(strategy).search_rows(words)}


def test_limit_of_beams_for_all_strategies():
    sizes = {"greedy": None, "sample": "n", "constrained": "width"}
    for name in STRATEGIES:
        option = sizes.get(name, "width")
        assert check_strategy(name) == name
        if option is None:
            continue
        groups = ", groups=1" if name == "diverse" else ""
        assert check_strategy(f"{name}({option}=64{groups})")
        with pytest.raises(SpecError, match="at most 64 beams here, got 65"):
            check_strategy(f"{name}({option}=65{groups})")
    assert check_strategy("constrained(width=16, must_include=['a', 'b c'])")
    with pytest.raises(SpecError, match="got 80: lower the width or the number of words"):
        check_strategy("constrained(width=16, must_include=['a', 'b', 'c d'])")
    with pytest.raises(SpecError, match="got 68"):
        check_strategy("constrained(width=4, must_include=['一只狗跑过草地 草地上有一只猫和狗'])")


def test_random_specs_are_valid_or_one_sentence():
    pick = random.Random(3)
    values = ["None", "True", "-1", "0", "1", "64", "10**9", "1e308", "-0.5", "'dog'", "''", "[]", "['']", "[['dog']]",
              "[1]", "{'a': 1}", "b'x'", "'beam'", "[None]", "9" * 400, "('dog', 'cat')", "lambda: 0",
              "'mbr'", "'mbr(temperature=0)'", "'os:system'"]  # fmt: skip
    options = [*RULES, "width", "n", "n_best", "must_include", "groups", "penalty", "temperature", "top_k", "top_p",
               "seed", "rerank", "length_penalty", "unknown", "self"]  # fmt: skip
    good = 0
    for _ in range(3000):
        chosen = pick.sample(options, pick.randint(0, 2))
        spec = f"{pick.choice(list(STRATEGIES))}({', '.join(f'{o}={pick.choice(values)}' for o in chosen)})"
        try:
            good += check_strategy(spec) == spec
        except SpecError as error:
            assert "\n" not in str(error) and "__init__" not in str(error), spec
    assert 300 < good < 2700
    for spec in (
        "",
        "(",
        "beam",
        "beam(",
        "beam(*[1])",
        "beam()()",
        "a.b:c",
        "captioner.decoding.strategies.beam:Beam",
        "x" * 1999,
    ):
        with contextlib.suppress(SpecError):
            assert check_strategy(spec) == "beam"


def test_tflite_file_in_the_folder(served, tmp_path):
    pytest.importorskip("ai_edge_litert")
    folder = tmp_path / "tiny"
    shutil.copytree(served[0], folder)
    captioner.export(folder, ["tflite"], strategy="greedy")
    (folder / "broken.tflite").write_bytes(b"none of ours")
    server = PageServer(folder)
    try:
        rows = server.get("/page/models").json()["models"]
        assert [row["name"] for row in rows] == ["tiny", "model.tflite"]
        assert rows[1]["exported_strategy"] == "greedy"
        with captioner.load(folder / "model.tflite") as model:
            assert_same(server.caption(model="model.tflite").json(), model.caption(PHOTO))
    finally:
        server.close()
