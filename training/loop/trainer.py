"""The training loop: epochs of packed batches, scoring, checkpoints, and going on where a stop left off."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from captioner import api, atomic
from captioner.benchmark import peak_memory
from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.models import CaptionModel
from captioner.signals import defer_signals
from training.analysis.gradients import record
from training.config import Run, as_dict
from training.data.batches import Batch
from training.data.quantization_images import set_aside
from training.data.source import Source
from training.loop import checkpoint
from training.loop.model_card import card
from training.loop.run_folder import CONFIG, GRADIENTS, METRICS, MODEL, finite
from training.loop.run_logger import Journal
from training.loop.stages import phases
from training.loop.validation import Captioning, score


class Trainer:
    """Trains one run into one folder.

    The folder holds `run.json` (the configuration), `checkpoint.npz` (where training is), `best.npz` (the best
    weights so far), `history.csv`, `gradients.csv`, `samples.txt`, `report.html`, `events/` (TensorBoard) and at the
    end `model/`, the bundle.

    Args:
        run: Run.
        out: path of the folder.
        source: Source. The data of the run.
        model: CaptionModel, freshly built.
    """

    def __init__(self, run: Run, out: Path, source: Source, model: CaptionModel):
        self.run, self.out, self.source, self.model = run, out, source, model
        self.phases = phases(run, source, model)
        self.phase = self.phases[0]
        content = repr([tuple(visit) for visit in source.visits]) + source.tokenizer.fingerprint
        self._data = hashlib.sha256(content.encode()).hexdigest()
        self.phase.compile(model)
        self._captioning: dict[int, Captioning] = {}
        self.state: dict[str, Any] = {
            "epoch": 0, "step": 0, "best": -math.inf, "best_epoch": 0, "waited": 0, "seconds": 0.0,
            "loss": 0.0, "losses": 0, "figures": {}, "epoch_done": False, "finished": False, "phase": 0,
            "memory": 0.0,  # the most held so far, in 10^6 bytes
        }  # fmt: skip
        self.journal = Journal(out)

    # Where training is, and back there.

    def _variables(self) -> list[Any]:
        """Everything that training changes: weights, statistics and dropout seeds, and the optimizer's own."""
        mine = self.model.variables if self.run.model.train_encoder else self.model.decoder.variables
        return [*mine, *self.model.optimizer.variables]

    def save(self) -> None:
        """Writes the checkpoint."""
        names = [f"{i}:{variable.path}" for i, variable in enumerate(self._variables())]
        values = [keras.ops.convert_to_numpy(variable.value) for variable in self._variables()]
        checkpoint.write(
            self.out / "checkpoint.npz",
            dict(zip(names, values, strict=True)),
            {
                **self.state,
                "best": None if math.isinf(self.state["best"]) else self.state["best"],
                "data": self._data,
            },
        )

    def restore(self) -> bool:
        """Goes to the last checkpoint; whether there was one."""
        found = checkpoint.read(self.out / "checkpoint.npz")
        if found is None:
            return False
        arrays, state = found
        if not checkpoint.fits(state, self.state):
            raise DataError(
                f"the checkpoint {self.out / 'checkpoint.npz'} is damaged (its state is none of ours); delete it to "
                "start over"
            )
        if state.get("data", self._data) != self._data:
            raise DataError(
                f"expected the training captions that {self.out} began with, found others; use another --out"
            )
        another = DataError(
            f"expected a checkpoint of this model in {self.out}, got one of another; use another --out"
        )
        if state.get("phase", 0) >= len(self.phases):
            raise another
        phase = self.phases[state.get("phase", 0)]
        if phase is not self.phase:  # else it is compiled already, and what the optimizer holds comes below
            self.phase = phase
            phase.compile(self.model)
        variables = self._variables()
        if [a.shape for a in arrays.values()] != [tuple(v.shape) for v in variables]:
            raise another
        for variable, value in zip(variables, arrays.values(), strict=True):
            variable.assign(value)
        self.state |= {**state, "best": -math.inf if state["best"] is None else state["best"]}
        return True

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average of the weights in place of the weights, where the run keeps one."""
        if not self.phase.settings.ema:
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
        """Trains to the end, from wherever the run is; returns the figures of the test splits."""
        state = self.state
        patience = self.run.evaluation.patience or math.inf
        while not state["finished"]:
            while state["epoch"] < self.phase.last and state["waited"] < patience:
                if not state["epoch_done"]:
                    self._train_epoch()
                self._end_epoch()
                if state["waited"] >= patience:
                    print(f"no better CIDEr-D for {state['waited']} scorings: stopping early")
                self.save()
            if state["phase"] + 1 == len(self.phases):
                break
            self._enter(state["phase"] + 1)
        return self._finish()

    def _enter(self, number: int) -> None:
        """Begins another phase, with the best weights so far and an optimizer that remembers nothing."""
        self._recall_best()
        self.phase = self.phases[number]
        self.phase.compile(self.model)
        self.state |= {"phase": number, "epoch": self.phase.first, "waited": 0}
        self.save()

    def _train_epoch(self) -> None:
        state, phase, epoch = self.state, self.phase, self.state["epoch"]
        here = epoch - phase.first
        steps, left_after = phase.steps[here], sum(phase.steps[here + 1 :])
        began, saved = time.monotonic(), time.monotonic()
        seconds, first = state["seconds"], state["step"]
        # Rates are of the last steps: the first one is mostly tracing.
        recent: deque[tuple[float, int]] = deque([(began, 0)], maxlen=20)
        bar = progress_bar(
            total=steps, initial=first, desc=f"epoch {epoch + 1}/{phase.last}", unit="step",
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {postfix}",
        )  # fmt: skip
        with bar:
            batches = phase.batches.epoch(epoch, self.source.training, self.source.key, skip=first)
            for batch in batches:
                # A step is done and counted, or neither.
                with defer_signals():
                    self._step(batch)
                now = time.monotonic()
                state["seconds"] = seconds + now - began
                recent.append((now, recent[-1][1] + batch.captions))
                (since, earlier), (_, captions) = recent[0], recent[-1]
                rate = (captions - earlier) / (now - since)
                left = (steps + left_after - state["step"]) * (now - since) / (len(recent) - 1)
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
        # Keras keeps a running mean otherwise, over all epochs so far.
        self.model.reset_metrics()
        loss = float(self.model.train_on_batch(batch.inputs, batch.targets, batch.weights))
        state = self.state
        if not math.isfinite(loss):
            raise DataError(
                f"the loss became {loss} in epoch {state['epoch'] + 1}, step {state['step'] + 1}: lower "
                f"{self.phase.name}.learning_rate or {self.phase.name}.clip and start again"
            )
        state["step"] += 1
        state["loss"], state["losses"] = state["loss"] + loss, state["losses"] + 1
        for name, value in batch.figures.items():
            state["figures"][name] = state["figures"].get(name, 0.0) + value

    def _end_epoch(self) -> None:
        state, run = self.state, self.run
        epoch = state["epoch"]
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "loss": state["loss"] / max(1, state["losses"]),
            "learning rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": state["seconds"],
        } | {name: value / max(1, state["losses"]) for name, value in state["figures"].items()}
        last = epoch + 1 == self.phase.last
        change: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": 0,
            "loss": 0.0,
            "losses": 0,
            "figures": {},
            "epoch_done": False,
        }
        if (epoch + 1) % run.evaluation.every == 0 or last:
            with self.averaged():
                captions, figures = self.score_split("validation", run.evaluation.limit)
                row |= figures
                if figures["CIDEr-D"] > state["best"]:
                    change |= {"best": figures["CIDEr-D"], "best_epoch": epoch + 1, "waited": 0}
                    self._keep_best(epoch + 1)
                else:
                    change["waited"] = state["waited"] + 1
            self.journal.samples(epoch + 1, captions, self.source.examples("validation"))
        record(self.model, *self.source.probe(), self.out / GRADIENTS, epoch + 1)
        self.journal.row(row)
        if "CIDEr-D" in row:
            self.journal.report()
        memory = max(state["memory"], peak_memory() or 0.0)
        # All at once and last: an epoch whose end is cut off by a stop is ended again, and then counts once.
        state.update(change, memory=memory)

    def score_split(
        self, split: str, limit: int = 0, official: bool = False
    ) -> tuple[list[str], dict[str, float]]:
        """Captions and figures of a split with the model as it is."""
        examples = self.source.examples(split)
        count = min(limit or len(examples), len(examples))
        batch = min(self.run.evaluation.batch_images, count)
        if batch not in self._captioning:
            self._captioning[batch] = Captioning(
                self.model, self.run.evaluation.strategy, batch, self.source.key
            )
        captions = self._captioning[batch](self.source.reader(split), count, f"caption {split}")
        return captions, score(captions, examples[:count], self.source.training_captions, official)

    def _keep_best(self, epoch: int) -> None:
        mine = self.model.variables if self.run.model.train_encoder else self.model.decoder.variables
        arrays = {f"{i}:{v.path}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(mine)}
        checkpoint.write(self.out / "best.npz", arrays, {"epoch": epoch})

    def _recall_best(self) -> None:
        found = checkpoint.read(self.out / "best.npz")
        if found is not None:
            mine = self.model.variables if self.run.model.train_encoder else self.model.decoder.variables
            for variable, value in zip(mine, found[0].values(), strict=True):
                variable.assign(value)

    def _finish(self) -> dict[str, Any]:
        """Scores the best weights on the test splits, once, and writes the bundle."""
        self._recall_best()
        self.state["finished"] = True
        metrics: dict[str, Any] = {
            "validation": {"CIDEr-D": self.state["best"]},
            "epoch": self.state["best_epoch"],
            "seconds": round(self.state["seconds"], 1),
            "memory": round(self.state["memory"], 1),
        }
        for split in self.run.evaluation.tests:
            captions, figures = self.score_split(split, official=self.run.evaluation.official)
            extra = self.source.exact_match(captions, split)
            metrics[split] = figures | ({} if extra is None else {"exact match": extra})
            self.journal.predictions(split, captions, self.source.examples(split))
        text = card(self.run, self.model, metrics)
        atomic.write_json(self.out / METRICS, finite(metrics))
        self.journal.report()
        set_aside(self.source.examples("train"), self.model.image_size, self.out)
        # Last, as its being there says that the run is finished.
        api.save(self.model, self.out / MODEL, card=text, metrics=finite(metrics), overwrite=True)
        return metrics


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def write_run(out: Path, run: Run) -> None:
    """Writes the configuration beside what it makes."""
    atomic.write_json(out / CONFIG, as_dict(run))
