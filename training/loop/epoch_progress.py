"""The progress bar of an epoch: loss, captions a second, and how long the whole stage will take."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from captioner.cli.progress import progress_bar


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
