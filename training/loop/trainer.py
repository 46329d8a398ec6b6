"""The training loop: epochs of batches, validation, checkpoints and resuming."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import keras

from captioner import api, atomic
from captioner.benchmark import peak_memory
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
from training.loop.optimizer import averaged_weights
from training.loop.run_folder import CONFIG, GRADIENTS, METRICS, MODEL, finite
from training.loop.run_logger import EpochProgress, RunLogger
from training.loop.selection import diagnosis
from training.loop.selection.choosing import CIDER, LOSS, Criterion, criterion
from training.loop.selection.final_metrics import final_metrics
from training.loop.stages import TEXT, build_stages, data_digest, lengthened
from training.loop.validation import Scoring


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
        self.out, self.source, self.model = out, source, model
        self.stages = build_stages(run, source, model)
        self.run = lengthened(run, self.stages)
        self.stage = self.stages[0]
        self._data = data_digest(source, self.stages)
        self.stage.compile(model)
        self.scoring = Scoring(model, source, self.run.evaluation)
        self.state = checkpoint.initial_state()
        self._saved = time.monotonic()
        self.run_logger = RunLogger(out)

    @property
    def criterion(self) -> Criterion:
        """What the epochs of this stage are compared by."""
        return criterion(self.run.evaluation.choose_by, self.stage.name, len(self.scoring.validated))

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
        state = {**self.state, "best": best, "data": self._data}
        checkpoint.write(self.out / "checkpoint.npz", checkpoint.values(self._variables()), state)
        self._saved = time.monotonic()

    def _save_if_due(self, due: bool = False) -> None:
        # Not after every epoch, which may be as short as a step.
        if due or time.monotonic() - self._saved > self.run.checkpoint_minutes * 60:
            self.save()

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
        checkpoint.assign(variables, arrays)
        # Checkpoints of earlier versions say neither what the best epoch was chosen by nor more about it.
        earlier = {"chosen_by": CIDER, "best_metrics": {CIDER: state["best"]}}
        self.state |= {**earlier, **state, "best": -math.inf if state["best"] is None else state["best"]}
        return True

    def averaged(self) -> AbstractContextManager[None]:
        """Context manager that puts the moving average of the weights in their place, if the run has one."""
        return averaged_weights(self.model) if self.stage.settings.ema_momentum else nullcontext()

    # Training.

    def fit(self) -> dict[str, Any]:
        """Trains to the end, from wherever the run is; returns the content of `metrics.json`."""
        state = self.state
        patience = self.run.evaluation.patience or math.inf
        self._begin_choosing()
        while not state["finished"]:
            while state["epoch"] < self.stage.last and state["epochs_without_improvement"] < patience:
                if not state["epoch_done"]:
                    self._train_epoch()
                self._end_epoch()
                if state["epochs_without_improvement"] >= patience:
                    count = state["epochs_without_improvement"]
                    print(f"no better {self.criterion.measure} in {count} validations: stopping early")
                self._save_if_due(self._validates(state["epoch"]))
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
        self._begin_choosing()
        self.save()

    def _begin_choosing(self) -> None:
        """Says what the best epoch is chosen by; a best value of another measure is dropped, its weights stay."""
        if self.stage.name == TEXT:
            return
        measure, reason = self.criterion
        if reason:
            print(reason, flush=True)
        if self.state["chosen_by"] != measure and not self.state["finished"]:
            self.state |= {"chosen_by": measure, "best": -math.inf, "epochs_without_improvement": 0}

    def _train_epoch(self) -> None:
        state, stage, epoch = self.state, self.stage, self.state["epoch"]
        index = epoch - stage.first
        steps, later_steps = stage.steps[index], sum(stage.steps[index + 1 :])
        seconds, first, began = state["seconds"], state["step"], time.monotonic()
        with EpochProgress(f"epoch {epoch + 1}/{stage.last}", steps, first, later_steps) as progress:
            batches = stage.batches.epoch(epoch, self.source.training, self.source.key, skip=first)
            for batch in batches:
                # A step is done and counted, or neither.
                with defer_signals():
                    self._step(batch)
                state["seconds"] = seconds + time.monotonic() - began
                progress.step(batch.captions, state["loss"] / state["losses"])
                self._save_if_due()
        state["epoch_done"] = True
        self._save_if_due()

    def _step(self, batch: Batch) -> None:
        self.model.reset_metrics()  # Keras would average over all epochs so far
        loss = float(self.model.train_on_batch(batch.inputs, batch.targets, batch.weights))
        state = self.state
        if not math.isfinite(loss):
            raise DataError(
                f"the loss became {loss} in epoch {state['epoch'] + 1}, step {state['step'] + 1}: lower "
                f"{self.stage.prefix}.learning_rate or {self.stage.prefix}.global_clipnorm and start again"
            )
        state["step"] += 1
        state["loss"], state["losses"] = state["loss"] + loss, state["losses"] + 1
        for name, value in batch.metrics.items():
            state["metrics"][name] = state["metrics"].get(name, 0.0) + value

    def _validates(self, epochs: int) -> bool:
        """Whether there is a validation after so many epochs; without images there is nothing to validate."""
        if self.stage.name == TEXT:
            return False
        return epochs % self.run.evaluation.every == 0 or epochs == self.stage.last

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
        validates = self._validates(epoch + 1)
        if validates:
            with self.averaged():
                captions, metrics = self.score_split("validation", run.evaluation.limit)
                if self.criterion.measure == LOSS:
                    metrics = {**metrics, LOSS: self.scoring.reference_loss()}
                row |= finite(metrics)
                value = self.criterion.value(metrics, epoch + 1)
                if value > state["best"]:
                    change |= {"best": value, "best_epoch": epoch + 1, "epochs_without_improvement": 0}
                    change["best_metrics"] = {
                        k: v for k, v in row.items() if k.partition("/")[0] in (CIDER, LOSS)
                    }
                    self._save_weights(epoch + 1)
                else:
                    change["epochs_without_improvement"] = state["epochs_without_improvement"] + 1
            self.run_logger.samples(epoch + 1, captions, self.source.examples("validation"))
        elif self.stage.name == TEXT and epoch + 1 == self.stage.last:
            with self.averaged():
                self._save_weights(epoch + 1)  # the next stage begins with them
        if validates or epoch == 0:
            record(self.model, *self.source.probe(), self.out / GRADIENTS, epoch + 1)
        self.run_logger.row(row)
        if validates:
            self.run_logger.warn(self._warnings())
            self.run_logger.report()
        memory = max(state["memory"], peak_memory() or 0.0)
        # Last and at once: an epoch whose end is interrupted is ended again, and then counts once.
        state.update(change, memory=memory)

    def score_split(
        self, split: str, limit: int = 0, official: bool = False, strategy: str = ""
    ) -> tuple[list[str], dict[str, float]]:
        """Captions and metrics of a split with the current weights."""
        return self.scoring(split, limit, official, strategy)

    def _warnings(self) -> dict[str, str]:
        """Warnings about the run so far, or about the whole one when it is finished, by kind."""
        state, stages, epochs = self.state, [stage.prefix for stage in self.stages], self.stages[-1].last
        history = diagnosis.validations(self.run_logger.history())
        images = len(self.scoring.validated)
        if not state["finished"]:
            return diagnosis.so_far(history, images, epochs)
        return diagnosis.at_end(history, state["best_epoch"], state["chosen_by"], images, epochs, stages)

    def _save_weights(self, epoch: int) -> None:
        weights = checkpoint.values(self._model_variables())
        checkpoint.write(self.out / "best.npz", weights, {"epoch": epoch})

    def _load_best_weights(self) -> None:
        saved = checkpoint.read(self.out / "best.npz")
        if saved is not None:
            checkpoint.assign(self._model_variables(), saved[0])

    def _finish(self) -> dict[str, Any]:
        """Scores the best weights on the test splits, once, and writes the bundle."""
        self._load_best_weights()
        self.state["finished"] = True
        warnings = self._warnings()
        self.run_logger.warn(warnings, again=True)
        metrics: dict[str, Any] = {
            "validation": self.state["best_metrics"],
            "epoch": self.state["best_epoch"],
            "chosen_by": self.state["chosen_by"],
            "warnings": list(warnings.values()),
            "seconds": round(self.state["seconds"], 1),
            "memory": round(self.state["memory"], 1),
        }
        metrics |= final_metrics(self)
        text = card(self.run, self.model, metrics)
        atomic.write_json(self.out / METRICS, finite(metrics))
        self.run_logger.report()
        save_representative_images(self.source.examples("train"), self.model.image_size, self.out)
        # Last, as this folder shows that the run is finished.
        api.save(self.model, self.out / MODEL, card=text, metrics=finite(metrics), overwrite=True)
        return metrics


def write_run(out: Path, run: Run) -> None:
    """Writes `run.json`, the settings."""
    atomic.write_json(out / CONFIG, as_dict(run))
