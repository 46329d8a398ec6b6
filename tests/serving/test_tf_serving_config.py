"""The settings for TensorFlow Serving: valid, consistent, and as serving/README.md documents them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "serving" / "tf_serving"
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
README = (ROOT / "serving" / "README.md").read_text(encoding="utf-8")
FLAGS = dict(re.findall(r'"--(\w+)=([^"]*)"', COMPOSE))
MOUNTS = dict(re.findall(r'"(?:\./)?([^"]+?):(/[^":]+):ro"', COMPOSE))


def text(name):
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def batching():
    """batching.config, read by protobuf with the fields of the server's own BatchingParameters."""
    fields = {
        "max_batch_size": 1,
        "batch_timeout_micros": 2,
        "max_enqueued_batches": 3,
        "num_batch_threads": 4,
    }
    return parse(text("batching.config"), fields | {"allowed_batch_sizes": 6})


def parse(content, fields):
    pool_module = pytest.importorskip("google.protobuf.descriptor_pool")
    from google.protobuf import descriptor_pb2, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="settings.proto", package="settings", syntax="proto3")
    wrapper = file.message_type.add(name="Value")
    wrapper.field.add(name="value", number=1, type=3, label=1)
    message = file.message_type.add(name="Settings")
    for name, number in fields.items():
        if name == "allowed_batch_sizes":
            message.field.add(name=name, number=number, type=3, label=3)
        else:
            message.field.add(name=name, number=number, type=11, label=1, type_name=".settings.Value")
    pool = pool_module.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("settings.Settings"))
    return text_format.Parse(content, kind())


def test_batch_sizes_are_warmed_up(batching):
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == [1, 2, 4, 8] and sizes[-1] == batching.max_batch_size.value
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "captioner" / "exporting").glob("*.py")]
    warmed = re.search(r"batch_sizes: Sequence\[int\] = \(([^)]*)\)", "".join(sources))
    assert warmed and {int(size) for size in warmed[1].split(",")} == {sizes[0], sizes[-1]}


def test_clients_send_at_most_one_batch(batching):
    from captioner.engines.remote.address import Options

    most = batching.max_batch_size.value
    assert Options().batch_size <= most
    for name in ("rest_client.py", "grpc_client.py"):
        example = (ROOT / "serving" / "examples" / name).read_text(encoding="utf-8")
        assert int(re.search(r"^MAX_BATCH_SIZE = (\d+)", example, re.M)[1]) <= most
    assert f"Task\nsize {most + 1} is larger than maximum input batch size {most}" in README


def test_batching_window_is_short(batching):
    assert 0 < batching.batch_timeout_micros.value <= 20_000
    assert batching.num_batch_threads.value > 0 and 0 < batching.max_enqueued_batches.value <= 64


def test_models_config_with_the_official_message():
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    models = text_format.Parse(text("models.config"), config.ModelServerConfig()).model_config_list.config
    assert [(model.name, model.base_path, model.model_platform) for model in models] == [
        ("captioner", "/models/captioner", "tensorflow")
    ]
    assert models[0].model_version_policy.latest.num_versions == 1
    # The lines that are commented out must be right as well.
    commented = [
        line.strip()[1:].strip() for line in text("models.config").splitlines() if line.strip()[:4] == "#   "
    ]
    kept = text_format.Parse("\n".join(commented), config.ModelConfig())
    assert list(kept.model_version_policy.specific.versions) == [1, 2] and kept.version_labels == {
        "stable": 1
    }


def test_metrics_path_equals_the_development_servers():
    metrics = re.search(r'path: "([^"]+)"', text("monitoring.config"))
    source = (ROOT / "serving/runtime/metrics.py").read_text(encoding="utf-8")
    assert metrics and f'PATH = "{metrics[1]}"' in source and metrics[1] in README
    assert "enable: true" in text("monitoring.config")


def test_files_of_flags_are_mounted():
    files = {value for value in FLAGS.values() if value.startswith("/config/")}
    assert files == {"/config/models.config", "/config/batching.config", "/config/monitoring.config"}
    for path in files:
        sources = [source for source, target in MOUNTS.items() if target == path]
        assert len(sources) == 1 and (FOLDER / sources[0]).is_file()


def test_model_and_ports_agree():
    assert 'base_path: "/models/captioner"' in text("models.config") and "}:/models/captioner:ro" in COMPOSE
    assert (FLAGS["port"], FLAGS["rest_api_port"]) == ("8500", "8501")
    assert re.findall(r'"127\.0\.0\.1:(\d+):(\d+)"', COMPOSE) == [("8500", "8500"), ("8501", "8501")]
    assert "/dev/tcp/127.0.0.1/8501 " in COMPOSE and "GET /v1/models/captioner HTTP" in COMPOSE
    assert (
        "localhost:8501/v1/models/captioner:predict" in README and "grpc://localhost:8500/captioner" in README
    )


def test_model_has_one_name():
    """The commands of all documents fit together."""
    shown = [path for path in (ROOT / "serving" / "examples").iterdir() if path.is_file()]
    shown += [ROOT / "README.md", ROOT / "serving" / "README.md", FOLDER / "compose.yaml"]
    names = {}
    for path in shown:
        text = path.read_text(encoding="utf-8")
        for pattern in (r"localhost:850[01]/v1/models/(\w+)", r"localhost:850[01][/ ](?!v1)(\w+)"):
            names.update({name: path.name for name in re.findall(pattern, text)})
    assert set(names) == {"captioner"}, names
    assert "--name captioner $(ARGS)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "served as `captioner`" in (ROOT / "serving/examples/README.md").read_text(encoding="utf-8")


def test_labels_do_not_prevent_the_start():
    """No version is available at the start, and TensorFlow Serving refuses labels of unavailable versions."""
    assert "version_labels" in text("models.config")
    assert FLAGS["allow_version_labels_for_unavailable_models"] == "true"


def test_documented_flags():
    assert int(FLAGS["grpc_max_threads"]) >= 64
    assert FLAGS["enable_batching"] == FLAGS["enable_model_warmup"] == "true"
    for flag in FLAGS:
        assert f"--{flag}" in README, f"serving/README.md does not document --{flag}"


def test_compose_is_yaml():
    service = yaml.safe_load(COMPOSE)["services"]["captioner"]
    assert (
        all(flag.startswith("--") for flag in service["command"])
        and service["healthcheck"]["test"][0] == "CMD"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_health_check():
    pytest.importorskip("starlette")
    from serving.http.app import HttpServer, Limits, RestApp
    from serving.runtime.admission import AdmissionControl
    from serving.runtime.metrics import Metrics
    from tests.support.serving_models import LinearVersion, StaticModels

    script = re.search(r'- "(exec [^\n]*)"\n', COMPOSE)[1].replace("\\\\", "\\")
    for name, healthy in (("captioner", True), ("other", False)):
        metrics, admission = Metrics(AdmissionControl(2, 2)), AdmissionControl(2, 2)
        models = StaticModels(name, [LinearVersion(1, 0.5)])
        app = RestApp(lambda models=models: models, admission, metrics, Limits())
        server = HttpServer(app, metrics, Limits(), "127.0.0.1", 0)
        server.start()
        try:
            done = subprocess.run(
                ["bash", "-c", script.replace("8501", str(server.port))], timeout=60, check=False
            )
        finally:
            server.stop(5)
        assert (done.returncode == 0) == healthy
    closed = subprocess.run(
        ["bash", "-c", script.replace("8501", str(server.port))], capture_output=True, timeout=60, check=False
    )
    assert closed.returncode != 0


def shell_lines():
    return "".join(re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)).splitlines()


def test_commands_of_the_readme():
    pytest.importorskip("prometheus_client")
    import argparse
    import shlex

    from captioner.cli import export
    from serving import bench, decoding_cost, devserver, parity

    exporter = argparse.ArgumentParser()
    export.arguments(exporter)
    parsers = {"captioner export": exporter, "python serving/devserver.py": devserver.parser()}
    parsers["python serving/bench.py"] = bench.parser()
    parsers["python serving/decoding_cost.py"] = decoding_cost.parser()
    parsers["python serving/parity.py"] = parity.parser()
    used = set()
    for line in shell_lines():
        for program, parser in parsers.items():
            if line.startswith(program):
                parser.parse_args(shlex.split(line.removeprefix(program)))
                used.add(program)
    assert used == set(parsers)


def test_options_are_documented():
    pytest.importorskip("prometheus_client")
    from serving.devserver import parser

    section = README.partition("## Development server")[2]
    options = {option for action in parser()._actions for option in action.option_strings[:1]} - {"-h"}
    assert {
        option for option in options if f"`{option}" not in section and f", `{option}" not in section
    } == set()


def test_default_model_warms_up_client_requests():
    pytest.importorskip("google.protobuf")
    from captioner.engines.remote.messages import message_classes
    from captioner.tfrecord import read_records
    from serving.runtime.session import WARM_UP

    records = read_records(ROOT / "saved_models/default/1" / WARM_UP)
    logs = [message_classes().PredictionLog.FromString(record.content) for record in records]
    specs = [(log.predict_log.request.model_spec, log.predict_log.request.output_filter) for log in logs]
    warmed_up = {(spec.signature_name, tuple(outputs)) for spec, outputs in specs}
    unfiltered = {(name, ()) for name in ("serving_default", "captions", "explain")}
    assert unfiltered | {("serving_default", ("caption", "error"))} <= warmed_up
