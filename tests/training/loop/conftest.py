"""Fixtures of tests that stop runs, and of those that begin with a model."""

import signal

import keras
import pytest

import captioner
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from tests.support.training.interrupted_runs import CHANGES, Crash
from training import train
from training.loop import checkpoint, trainer, validation
from training.recipes import RECIPES
from training.recipes.changes import with_changes


@pytest.fixture(scope="module")
def built(quick):
    """`train.build` that builds a network once and then puts it back to its first values: tracing takes seconds."""
    real, known = train.build, {}

    def build(run, out, resume, dataset=None):
        key = (run.data.source, run.model.train_encoder, run.xe.epochs, run.evaluation.choose_by)
        if key not in known:
            made = real(run, out, resume, dataset)
            known[key] = made, [variable.numpy() for variable in made._variables()]
            return made
        made, values = known[key]
        for variable, value in zip(made._variables(), values, strict=True):
            variable.assign(value)
        trainer.write_run(out, run)
        made.run, made.out, made.run_logger = run, out, trainer.RunLogger(out)
        made.state = checkpoint.initial_state()
        return made

    return build


@pytest.fixture
def make(monkeypatch, built):
    """Runs a training to its end or to where it is made to stop; how many steps it did."""
    real_step = CaptionModel.train_on_batch

    def run_it(out, *changes, stop=None, at=0):
        run = with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])
        real_score, steps, scorings = validation.score, [], []

        def step(self, *arguments, **more):
            steps.append(1)
            now = len(steps) == at
            if now and stop == "Ctrl-C before":
                signal.raise_signal(signal.SIGINT)
            if now and stop == "crash before":
                raise Crash
            result = real_step(self, *arguments, **more)
            if now and stop == "Ctrl-C after":
                signal.raise_signal(signal.SIGINT)
            if now and stop == "crash after":
                raise Crash
            return result

        def score(*arguments, **more):
            scorings.append(1)
            if stop == "Ctrl-C while scoring" and len(scorings) == at:
                signal.raise_signal(signal.SIGINT)
            result = real_score(*arguments, **more)
            if stop == "crash after scoring" and len(scorings) == at:
                monkeypatch.setattr(trainer.Trainer, "save", crash)
            return result

        def crash(self):
            raise Crash

        def record(*arguments):
            if stop == "Ctrl-C after scoring" and len(scorings) == at:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(CaptionModel, "train_on_batch", step)
            patch.setattr(validation, "score", score)
            patch.setattr(train, "build", built)
            patch.setattr(trainer, "record", record)
            save = trainer.Trainer.save
            try:
                train.train(run, out, train.open_run(out, run, overwrite=False))
            except (KeyboardInterrupt, Crash):
                assert stop
                return len(steps)
            finally:
                monkeypatch.setattr(trainer.Trainer, "save", save)
        assert not stop, f"never got to {stop} {at}"
        return len(steps)

    return run_it


@pytest.fixture(scope="module")
def start_folder(quick, tmp_path_factory):
    """A model folder of 16x16 images, its captions at most 5 ids long."""
    keras.utils.set_random_seed(1)
    decoder = "gru(units=4, embedding=4, value_dim=4, attention='additive(units=4)')"
    vocabulary = Tokenizer(["a", "red", "blue", "circle", "square", "above", "zeppelin"])
    model = CaptionModel("small_cnn(width=2, stages=1)", decoder, vocabulary, 5, (16, 16))
    return captioner.save(model, tmp_path_factory.mktemp("start") / "model")
