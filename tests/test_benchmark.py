"""`captioner bench`: its measurements, and models that cannot be measured."""

import json
import shutil
import sys

import pytest

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import benchmark, bundle, cli
from captioner.cli import bench
from captioner.errors import EngineError, SpecError
from captioner.image.pillow_preprocess import drawn

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def lite(tiny_export):
    return tiny_export("tflite")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "drawn.jpg"
    path.write_bytes(drawn((40, 30)))
    return str(path)


def test_variants_of_a_model_folder(tmp_path):
    (tmp_path / "captioner.json").write_text("{}")
    assert benchmark.variants(tmp_path) == [str(tmp_path)]
    for name, size in {
        "model.tflite": 40,
        "model_int8.tflite": 10,
        "1/saved_model.pb": 1,
        "2/saved_model.pb": 1,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    sources = [source.removeprefix(str(tmp_path)) for source in benchmark.variants(tmp_path)]
    assert sources == ["", "/2", "/model.tflite", "/model_int8.tflite"]
    assert benchmark.variants("http://host:8501/dogs") == ["http://host:8501/dogs"]


def test_costs_are_those_of_a_separate_process(lite, image):
    cost = benchmark.cost(str(lite), [image], iterations=5, processes=2, threads=1)
    with captioner.load(lite, threads=1) as model:
        assert cost.caption == model.caption(image).text
    assert cost.engine == "tflite" and cost.megabytes == lite.stat().st_size / 1e6
    assert len(cost.latencies) == 10
    assert 0 < cost.latency(0.0) <= cost.latency() <= cost.latency(0.95) == max(cost.latencies) < cost.first
    # This process holds TensorFlow; that one does not.
    assert 10 < cost.first_memory <= cost.memory < 300 < benchmark.peak_memory()


def test_sizes_exclude_exports(tiny_bundle, tmp_path):
    size = sum(path.stat().st_size for path in tiny_bundle.iterdir() if path.is_file())
    assert benchmark._size(tiny_bundle) == size
    model = tmp_path / "model"
    shutil.copytree(tiny_bundle, model)
    for name in bundle.FILES:  # everything that an engine reads counts, whether this model has it or not
        with open(model / name, "ab") as handle:
            handle.write(bytes(1000))
    assert benchmark._size(model) == size + 1000 * len(bundle.FILES)
    (model / "model.tflite").write_bytes(bytes(7))
    assert benchmark._size(model) == size + 1000 * len(bundle.FILES)
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "variables" / "data").write_bytes(bytes(70))
    (tmp_path / "1" / "saved_model.pb").write_bytes(bytes(7))
    assert benchmark._size(tmp_path / "1") == 77


def test_a_served_model_has_no_size_here(monkeypatch):
    ran = {
        "engine": "http",
        "first": 1.0,
        "first_memory": None,
        "latencies": [0.1],
        "memory": None,
        "caption": "",
    }
    monkeypatch.setattr(benchmark, "_process", lambda *_: ran)
    cost = benchmark.cost("http://host:8501/dogs", ["dog.jpg"], processes=1)
    assert cost.megabytes is None
    assert bench._row(cost, cost.latency()).split()[:3] == ["?", "1.00", "?"]


@pytest.mark.parametrize("option", ["iterations", "processes", "threads"])
def test_nothing_is_measured_less_than_once(lite, image, option):
    with pytest.raises(SpecError, match=f"{option} expects a whole number of at least 1, got 0"):
        benchmark.cost(str(lite), [image], **{option: 0})


def test_a_process_that_dies_is_one_line(lite, image, monkeypatch):
    monkeypatch.setattr(benchmark.sys, "executable", "false")
    with pytest.raises(EngineError, match="its process ended with status 1: no message"):
        benchmark.cost(str(lite), [image])


def test_the_command_prints_a_row_for_each_model(lite, tmp_path, capsys):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"text")
    options = ["--iterations", "3", "--processes", "1", "--strategy", "greedy"]
    assert cli.main(["bench", str(lite), str(broken), *options]) == 1
    printed = capsys.readouterr()
    head, row = printed.out.splitlines()
    assert head.split() == ["size", "start", "rss", "min", "median", "p95", "peak", "speed", "model"]
    assert row.endswith(f"1.0x  {lite}") and len(row.split()) == 9
    assert printed.err.count("\n") == 2 and "no TensorFlow Lite file" in printed.err
    assert printed.err.endswith("captioner: 1 of 2 models measured, 1 failed\n")


def test_as_json_and_with_nothing_to_measure(lite, image, capsys):
    options = ["--iterations", "3", "--processes", "1", "--images", image]
    assert cli.main(["bench", str(lite), "--json", *options]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["source"] == str(lite) and row["median"] in row["latencies"] and "caption" in row
    assert cli.main(["bench", "nowhere.tflite", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "no model nowhere.tflite" in lines[0] and "none of these models" in lines[1] and len(lines) == 2


def test_peak_memory_without_proc(monkeypatch):
    pytest.importorskip("resource")

    def missing(self):
        raise FileNotFoundError

    monkeypatch.setattr(benchmark.Path, "read_text", missing)
    assert 10 < benchmark.peak_memory() < 1e5
    monkeypatch.setitem(sys.modules, "resource", None)
    assert benchmark.peak_memory() is None


def test_unreadable_images_are_counted(lite, image, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "sub").mkdir()
    options = ["--iterations", "1", "--processes", "1", "--json", "--images", str(tmp_path / "bad.png")]
    assert cli.main(["bench", str(lite), *options, image, str(tmp_path / "*.nix")]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["caption"] is not None
    assert "bad.png" in printed.err and "no file matches" in printed.err and printed.err.count("\n") == 2
    assert cli.main(["bench", str(lite), *options]) == 2
    assert "none of these images can be read" in capsys.readouterr().err


def test_trust_reaches_the_process(lite, image, monkeypatch):
    jobs = []
    ran = {
        "engine": "tflite",
        "first": 1.0,
        "first_memory": None,
        "latencies": [0.1],
        "memory": None,
        "caption": "",
    }
    monkeypatch.setattr(benchmark, "_process", lambda job, threads: jobs.append(job) or ran)
    benchmark.cost(str(lite), [image], processes=1, trust=("my_pkg",))
    assert jobs[0]["trust"] == ["my_pkg"]
