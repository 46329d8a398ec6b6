"""The training loop: epochs of batches, validation, checkpoints and resuming."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioner import api, atomic
from captioner.benchmark import peak_memory
from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.models import CaptionModel
from captioner.signals import defer_signals
from training.analysis.gradients import record
from training.config import Run, as_dict
from training.data.batches import Batch
from training.data.quantization_images import save_representative_images
from training.data.source import Source
from training.loop import checkpoint
from training.loop.model_card import card
from training.loop.run_folder import CONFIG, GRADIENTS, METRICS, MODEL, finite
from training.loop.run_logger import RunLogger
from training.loop.stages import build_stages
from training.loop.validation import Captioning, score


class Trainer:
    """Trains one run into one folder.

    The folder holds `run.json` (the settings), `checkpoint.npz` (the state of training), `best.npz` (the best weights
    so far), `history.csv`, `gradients.csv`, `samples.txt`, `report.html`, `events/` (TensorBoard) and at the end
    `model/`, the bundle.

    Args:
        run: Run.
        out: Path of the folder.
        source: Source. The data of the run.
        model: CaptionModel, freshly built.
    """

    def __init__(self, run: Run, out: Path, source: Source, model: CaptionModel):
        self.run, self.out, self.source, self.model = run, out, source, model
        self.stages = build_stages(run, source, model)
        self.stage = self.stages[0]
        content = repr([tuple(group) for group in source.caption_groups]) + source.tokenizer.fingerprint
        self._data = hashlib.sha256(content.encode()).hexdigest()
        self.stage.compile(model)
        self._captioning: dict[int, Captioning] = {}
        self.state: dict[str, Any] = {
            "epoch": 0, "step": 0, "best": -math.inf, "best_epoch": 0, "epochs_without_improvement": 0, "seconds": 0.0,
            "loss": 0.0, "losses": 0, "metrics": {}, "epoch_done": False, "finished": False, "stage": 0,
            "memory": 0.0,  # peak of the resident set so far, in 10^6 bytes
        }  # fmt: skip
        self.run_logger = RunLogger(out)

    # Checkpoints.

    def _model_variables(self) -> list[Any]:
        """The model's variables that training changes: weights, batch statistics and dropout seeds."""
        part = self.model if self.run.model.train_encoder else self.model.decoder
        return list(part.variables)

    def _variables(self) -> list[Any]:
        """Everything that training changes: variables of the model and of the optimizer."""
        return [*self._model_variables(), *self.model.optimizer.variables]

    def save(self) -> None:
        """Writes the checkpoint."""
        best = None if math.isinf(self.state["best"]) else self.state["best"]
        checkpoint.write(
            self.out / "checkpoint.npz",
            _arrays(self._variables()),
            {**self.state, "best": best, "data": self._data},
        )

    def restore(self) -> bool:
        """Restores the last checkpoint; returns whether there was one."""
        saved = checkpoint.read(self.out / "checkpoint.npz")
        if saved is None:
            return False
        arrays, state = saved
        if not checkpoint.fits(state, self.state):
            raise DataError(
                f"the checkpoint {self.out / 'checkpoint.npz'} is damaged (its state has other fields); delete it to "
                "start over"
            )
        if state.get("data", self._data) != self._data:
            raise DataError(
                f"expected the training captions that {self.out} began with, got others; use another --out"
            )
        mismatch = DataError(
            f"expected a checkpoint of this model in {self.out}, got one of another; use another --out"
        )
        if state.get("stage", 0) >= len(self.stages):
            raise mismatch
        stage = self.stages[state.get("stage", 0)]
        if stage is not self.stage:  # else compiled already; its optimizer is restored below
            self.stage = stage
            stage.compile(self.model)
        variables = self._variables()
        if [a.shape for a in arrays.values()] != [tuple(v.shape) for v in variables]:
            raise mismatch
        for variable, value in zip(variables, arrays.values(), strict=True):
            variable.assign(value)
        self.state |= {**state, "best": -math.inf if state["best"] is None else state["best"]}
        return True

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context manager that puts the moving average of the weights in their place, if the run has one."""
        if not self.stage.settings.ema_momentum:
            yield
            return
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
        swap.set_model(self.model)
        with defer_signals():
            swap.on_test_begin()
        try:
            yield
        finally:
            with defer_signals():
                swap.on_test_end()

    # Training.

    def fit(self) -> dict[str, Any]:
        """Trains to the end, from wherever the run is; returns the content of `metrics.json`."""
        state = self.state
        patience = self.run.evaluation.patience or math.inf
        while not state["finished"]:
            while state["epoch"] < self.stage.last and state["epochs_without_improvement"] < patience:
                if not state["epoch_done"]:
                    self._train_epoch()
                self._end_epoch()
                if state["epochs_without_improvement"] >= patience:
                    print(
                        f"no better CIDEr-D in {state['epochs_without_improvement']} validations: stopping early"
                    )
                self.save()
            if state["stage"] + 1 == len(self.stages):
                break
            self._enter(state["stage"] + 1)
        return self._finish()

    def _enter(self, number: int) -> None:
        """Begins another stage, with the best weights so far and a fresh optimizer."""
        self._load_best_weights()
        self.stage = self.stages[number]
        self.stage.compile(self.model)
        self.state |= {"stage": number, "epoch": self.stage.first, "epochs_without_improvement": 0}
        self.save()

    def _train_epoch(self) -> None:
        state, stage, epoch = self.state, self.stage, self.state["epoch"]
        index = epoch - stage.first
        steps, later_steps = stage.steps[index], sum(stage.steps[index + 1 :])
        began, saved = time.monotonic(), time.monotonic()
        seconds, first = state["seconds"], state["step"]
        # Rates are of the last steps: the first one is mostly tracing.
        recent: deque[tuple[float, int]] = deque([(began, 0)], maxlen=20)
        bar = progress_bar(
            total=steps, initial=first, desc=f"epoch {epoch + 1}/{stage.last}", unit="step",
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {postfix}",
        )  # fmt: skip
        with bar:
            batches = stage.batches.epoch(epoch, self.source.training, self.source.key, skip=first)
            for batch in batches:
                # A step is done and counted, or neither.
                with defer_signals():
                    self._step(batch)
                now = time.monotonic()
                state["seconds"] = seconds + now - began
                recent.append((now, recent[-1][1] + batch.captions))
                (since, earlier), (_, captions) = recent[0], recent[-1]
                rate = (captions - earlier) / (now - since)
                left = (steps + later_steps - state["step"]) * (now - since) / (len(recent) - 1)
                mean = state["loss"] / state["losses"]
                bar.set_postfix_str(
                    f"loss {mean:.3f}, {rate:.0f} captions/s, {_clock(left)} left in all", refresh=False
                )
                bar.update()
                if now - saved > self.run.checkpoint_minutes * 60:
                    self.save()
                    saved = now
        state["epoch_done"] = True
        self.save()

    def _step(self, batch: Batch) -> None:
        self.model.reset_metrics()  # Keras would average over all epochs so far
        loss = float(self.model.train_on_batch(batch.inputs, batch.targets, batch.weights))
        state = self.state
        if not math.isfinite(loss):
            raise DataError(
                f"the loss became {loss} in epoch {state['epoch'] + 1}, step {state['step'] + 1}: lower "
                f"{self.stage.name}.learning_rate or {self.stage.name}.global_clipnorm and start again"
            )
        state["step"] += 1
        state["loss"], state["losses"] = state["loss"] + loss, state["losses"] + 1
        for name, value in batch.metrics.items():
            state["metrics"][name] = state["metrics"].get(name, 0.0) + value

    def _end_epoch(self) -> None:
        state, run = self.state, self.run
        epoch, losses = state["epoch"], max(1, state["losses"])
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": state["loss"] / losses,
            "learning rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": state["seconds"],
        } | {name: value / losses for name, value in state["metrics"].items()}
        change: dict[str, Any] = {"epoch": epoch + 1, "step": 0, "loss": 0.0, "losses": 0, "metrics": {}}
        change["epoch_done"] = False
        if (epoch + 1) % run.evaluation.every == 0 or epoch + 1 == self.stage.last:
            with self.averaged():
                captions, metrics = self.score_split("validation", run.evaluation.limit)
                row |= metrics
                if metrics["CIDEr-D"] > state["best"]:
                    change |= {"best": metrics["CIDEr-D"], "best_epoch": epoch + 1}
                    change["epochs_without_improvement"] = 0
                    arrays = _arrays(self._model_variables())
                    checkpoint.write(self.out / "best.npz", arrays, {"epoch": epoch + 1})
                else:
                    change["epochs_without_improvement"] = state["epochs_without_improvement"] + 1
            self.run_logger.samples(epoch + 1, captions, self.source.examples("validation"))
        record(self.model, *self.source.probe(), self.out / GRADIENTS, epoch + 1)
        self.run_logger.row(row)
        if "CIDEr-D" in row:
            self.run_logger.report()
        memory = max(state["memory"], peak_memory() or 0.0)
        # Last and at once: an epoch whose end is interrupted is ended again, and then counts once.
        state.update(change, memory=memory)

    def score_split(
        self, split: str, limit: int = 0, official: bool = False
    ) -> tuple[list[str], dict[str, float]]:
        """Captions and metrics of a split with the current weights."""
        source, evaluation = self.source, self.run.evaluation
        examples = source.examples(split)[: limit or None]
        batch = min(evaluation.batch_images, len(examples))
        if batch not in self._captioning:
            self._captioning[batch] = Captioning(self.model, evaluation.strategy, batch, source.key)
        captions = self._captioning[batch](source.reader(split), len(examples), f"caption {split}")
        metrics = score(captions, examples, source.training_captions, official, language=source.language)
        return captions, metrics

    def _load_best_weights(self) -> None:
        saved = checkpoint.read(self.out / "best.npz")
        if saved is not None:
            for variable, value in zip(self._model_variables(), saved[0].values(), strict=True):
                variable.assign(value)

    def _finish(self) -> dict[str, Any]:
        """Scores the best weights on the test splits, once, and writes the bundle."""
        self._load_best_weights()
        self.state["finished"] = True
        metrics: dict[str, Any] = {
            "validation": {"CIDEr-D": self.state["best"]},
            "epoch": self.state["best_epoch"],
            "seconds": round(self.state["seconds"], 1),
            "memory": round(self.state["memory"], 1),
        }
        for split in self.run.evaluation.tests:
            captions, metrics[split] = self.score_split(split, official=self.run.evaluation.official)
            exact_match = self.source.exact_match(captions, split)
            if exact_match is not None:
                metrics[split]["exact match"] = exact_match
            self.run_logger.predictions(split, captions, self.source.examples(split))
        text = card(self.run, self.model, metrics)
        atomic.write_json(self.out / METRICS, finite(metrics))
        self.run_logger.report()
        save_representative_images(self.source.examples("train"), self.model.image_size, self.out)
        # Last, as this folder shows that the run is finished.
        api.save(self.model, self.out / MODEL, card=text, metrics=finite(metrics), overwrite=True)
        return metrics


def _arrays(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """Values of variables by number and path."""
    return {f"{i}:{v.path}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def write_run(out: Path, run: Run) -> None:
    """Writes `run.json`, the settings."""
    atomic.write_json(out / CONFIG, as_dict(run))
