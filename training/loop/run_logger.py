"""Logs of a run: progress, metrics of every epoch, sample captions, predictions, a report and TensorBoard events."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from captioner.atomic import write_text
from captioner.cli.progress import progress_bar
from training.analysis import report
from training.data.datasets import Example
from training.loop.run_folder import HISTORY, read_epochs, write_table
from training.loop.selection.choosing import CIDER, LOSS, metric_text

_log = logging.getLogger("captioner.training")


class RunLogger:
    """Writes `history.csv`, `samples.txt`, predictions and TensorBoard events into a run's folder.

    Args:
        out: path of the run's folder.
    """

    def __init__(self, out: Path):
        self.out = out
        self._events: Any = None
        self._warned: set[str] = set()  # kinds of warnings

    def _writer(self) -> Any:
        if self._events is None:
            self._events = tf.summary.create_file_writer(str(self.out / "events"))
        return self._events

    def row(self, row: dict[str, Any]) -> None:
        """Prints an epoch and writes it to `history.csv` (a repeated epoch replaces its row) and TensorBoard."""
        parts = [f"loss {row['loss']:.3f}"]
        by_source = [name for name in row if name.startswith(f"{CIDER}/")]
        names = (LOSS, CIDER, *by_source, "BLEU-4", "unique captions")
        parts += [metric_text(name, row[name]) for name in names if name in row]
        print(
            f"epoch {row['epoch']}: {', '.join(parts)}; {row['seconds'] / 60:.1f} minutes of training",
            flush=True,
        )
        before = [old for old in self.history() if old["epoch"] < row["epoch"]]
        write_table(self.out / HISTORY, [*before, row])
        with self._writer().as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch" and value is not None:
                    tf.summary.scalar(name.replace(" ", "_"), value)
            self._writer().flush()

    def history(self) -> list[dict[str, Any]]:
        """The rows of `history.csv`; none before the first epoch."""
        path = self.out / HISTORY
        return read_epochs(path) if path.is_file() else []

    def warn(self, warnings: Mapping[str, str], again: bool = False) -> None:
        """Prints warnings, by kind, on standard error: one of each kind unless `again`."""
        for kind, warning in warnings.items():
            if again or kind not in self._warned:
                self._warned.add(kind)
                _log.warning("warning: %s", warning)

    def samples(
        self, epoch: int, captions: Sequence[str], examples: Sequence[Example], count: int = 8
    ) -> None:
        """Appends a few validation captions, each beside a reference, to `samples.txt`."""
        step = max(1, len(captions) // count)
        lines = [
            f"{example.id}: {caption}  |  {example.captions[0]}"
            for caption, example in list(zip(captions, examples, strict=False))[::step][:count]
        ]
        path = self.out / "samples.txt"
        before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        # An epoch that is repeated after a crash replaces what it wrote before.
        before = before[: before.find(f"epoch {epoch}\n")] if f"epoch {epoch}\n" in before else before
        write_text(path, before + f"epoch {epoch}\n" + "".join(f"  {line}\n" for line in lines))
        with self._writer().as_default(step=epoch):
            tf.summary.text("captions", "\n\n".join(lines))

    def report(self) -> None:
        """Writes the page of the run so far, `report.html`; an error is printed in one line, and training goes on."""
        try:
            report.write([self.out])
        except Exception as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            print(f"no report.html, training goes on: {reason}", flush=True)

    def predictions(self, split: str, captions: Sequence[str], examples: Sequence[Example]) -> None:
        """Writes all captions of a split and their references, as `captioner evaluate` reads them."""
        for name, values in (("predictions", captions), ("references", [e.captions for e in examples])):
            content = {e.id: v for e, v in zip(examples, values, strict=True)}
            text = json.dumps(content, ensure_ascii=False, indent=0) + "\n"
            write_text(self.out / f"{name}_{split}.json", text)


class EpochProgress:
    """A progress bar that counts steps; a context manager.

    Args:
        title: str, such as "epoch 1/9".
        steps: int. Those of the epoch.
        done: int. How many of them were done before.
        later_steps: int. Those of the stage's later epochs.
    """

    def __init__(self, title: str, steps: int, done: int, later_steps: int):
        self._left = steps - done + later_steps
        # Rates are of the last steps: the first one is mostly tracing.
        self._recent: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=20)
        self._bar = progress_bar(
            total=steps, initial=done, desc=title, unit="step",
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} {postfix}",
        )  # fmt: skip

    def __enter__(self) -> EpochProgress:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()

    def step(self, captions: int, loss: float) -> None:
        """Counts a step on so many captions; `loss` is the epoch's mean so far."""
        self._left -= 1
        self._recent.append((time.monotonic(), self._recent[-1][1] + captions))
        (since, earlier), (now, count) = self._recent[0], self._recent[-1]
        rate = (count - earlier) / (now - since)
        left = self._left * (now - since) / (len(self._recent) - 1)
        self._bar.set_postfix_str(
            f"loss {loss:.3f}, {rate:.0f} captions/s, {_clock(left)} left in all", refresh=False
        )
        self._bar.update()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
