"""Learning from another model's distributions over words."""

import keras
import numpy as np
import pytest

import captioner
from captioner.errors import BundleError, DataError, ModelError, SpecError
from captioner.models.packing import pack
from tests.support.models.tiny_model import build_tiny_model
from training import train
from training.loop.distillation import Teacher, open_teacher
from training.loop.losses import CaptionLoss
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")
DECODER = "lstm(units=8, embedding=8, value_dim=8, dropout=0.0)"
CAPTIONS, OWNERS = [[4, 5, 6, 2], [7, 2], [8, 9, 2]], [0, 0, 1]


def logp_of(model, features, temperature=1.0):
    """Log-probabilities [T, V] of every word at each step of each caption."""
    rows = []
    for caption, owner in zip(CAPTIONS, OWNERS, strict=True):
        memory, state = model.start(features[owner : owner + 1])
        for word in [1, *caption[:-1]]:
            output, _, state = model.step(np.array([word], np.int32), memory, state)
            logits = model.head(output).numpy()[0].astype(np.float64) / temperature
            rows.append(logits - np.log(np.exp(logits).sum()))
    return np.array(rows)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_is_cross_entropy_with_the_teacher(temperature):
    student, teacher = build_tiny_model(DECODER, seed=1), build_tiny_model(DECODER, seed=2)
    features = np.random.default_rng(3).normal(size=(2, 16, 12)).astype(np.float32)
    known, wanted = (logp_of(model, features, temperature) for model in (student, teacher))
    expected = 0.7 * temperature**2 * -(np.exp(wanted) * known).sum(-1).mean()
    # Rows that only fill the profile, and steps after a caption's end, count nothing.
    packed = pack(CAPTIONS, OWNERS, batch=2, group=3, profile=[6, 5, 3, 2, 1])
    inputs = {"features": features, **packed.as_inputs()}
    student.extra_loss = Teacher(teacher, 0.7, temperature)
    student(inputs, training=True)
    assert [float(loss) for loss in student.losses] == [pytest.approx(expected, rel=1e-4)]
    student(inputs, training=False)
    assert not student.losses
    # It is part of what a step minimises, and the teacher is not.
    count, before = len(student.weights), [w.numpy() for w in teacher.weights]
    losses = []
    for extra in (None, Teacher(teacher, 0.7, temperature)):
        student.extra_loss = extra
        rate = 0.0 if extra is None else 0.5
        student.compile(optimizer=keras.optimizers.SGD(rate), loss=CaptionLoss(), run_eagerly=True)
        losses.append(float(student.train_on_batch(inputs, packed.targets, packed.weights)))
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-3)
    assert len(student.weights) == count
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, teacher.weights, strict=True))


def test_student_converges_to_its_teacher():
    student, teacher = build_tiny_model(DECODER, seed=1), build_tiny_model(DECODER, seed=2)
    features = np.random.default_rng(3).normal(size=(2, 16, 12)).astype(np.float32)
    packed = pack(CAPTIONS, OWNERS, batch=2, group=3)
    inputs = {"features": features, **packed.as_inputs()}
    wanted = logp_of(teacher, features)

    def apart():
        return (np.exp(wanted) * (wanted - logp_of(student, features))).sum(-1).mean()

    before = apart()
    # The references weigh next to nothing: what is learnt is the teacher alone.
    student.extra_loss = Teacher(teacher, 100.0, 1.0)
    student.compile(optimizer=keras.optimizers.Adam(0.03), loss=CaptionLoss())
    student.optimizer.build(student.trainable_variables)  # else the first step is traced twice
    for _ in range(60):
        student.train_on_batch(inputs, packed.targets, packed.weights)
    assert apart() < 0.3 * before


CHANGES = [
    "data.source=synthetic_scenes(train=6, validation=3, test=5, test_unseen=2, size=32)",
    "data.max_vocabulary=20",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)')",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=1",
    "xe.batch_images=4",
    "evaluation.strategy=greedy",
    "evaluation.tests=test",
]


def run_of(*changes):
    return with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])


@pytest.fixture(scope="module")
def teacher(quick, no_reports, tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    train.train(run_of(), out, False)
    return str(out / "model")


def test_a_run_with_a_teacher(teacher, tmp_path):
    """Also with another decoder than the student's, and in cross-entropy alone."""
    other = "model.decoder=gru(units=6, embedding=8, value_dim=8, attention='additive(units=8)')"
    # A frozen random encoder is the teacher's where seeds agree.
    run = run_of(other, f"xe.distillation_teacher={teacher}", "scst.epochs=1", "scst.batch_images=4")
    made = train.build(run, tmp_path / "run", False)
    assert made.model.extra_loss is not None
    plain = train.build(run_of(other), tmp_path / "plain", False).model
    assert len(made.model.weights) == len(plain.weights), "the teacher is no part of the student"
    made.fit()
    assert made.model.extra_loss is None, "self-critical training has no teacher"
    with captioner.load(tmp_path / "run" / "model") as model:
        assert "gru" in model.engine.describe()["model"]["decoder"]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (["xe.distillation_teacher=nowhere"], BundleError, "no such model folder: nowhere"),
        (
            ["xe.distillation_teacher=TEACHER", "data.max_vocabulary=12"],
            DataError,
            "to have the vocabulary of these",
        ),
        (["xe.distillation_teacher=TEACHER", "seed=5"], ModelError, "to have the student's encoder"),
        (
            ["xe.distillation_teacher=TEACHER", "model.image_size=16"],
            ModelError,
            r"of \(16, 16\), the student's size",
        ),
        (
            ["xe.distillation_temperature=0"],
            SpecError,
            "xe.distillation_temperature expects a number of at least 0.05, got 0.0",
        ),
    ],
)
def test_a_wrong_teacher_is_one_line(teacher, tmp_path, changes, error, says):
    settings = [change.replace("TEACHER", teacher) for change in changes]
    with pytest.raises(error, match=says) as caught:
        train.train(run_of(*settings), tmp_path / "run", False)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_trained_encoder_may_have_another_teacher(teacher):
    student = captioner.load(teacher).engine.model
    student.encoder.set_weights([w + 1.0 for w in student.encoder.get_weights()])
    with pytest.raises(ModelError, match="encoder"):
        open_teacher(teacher, student, 1.0, 1.0)
    student.encoder.trainable = True
    assert open_teacher(teacher, student, 1.0, 1.0)
