"""Progress on standard error: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from keras_prelu.cli.output import echo

__all__ = ["Update", "progress"]

SECONDS_BETWEEN_LINES = 5.0
"""The time between two lines of progress where there is no terminal."""


@dataclass(kw_only=True)
class _State:
    """How far a task is.

    Attributes:
        description: String. What is done.
        done: Float. Units that are done.
        total: Float or None. All units.
        note: String. What else is to be said, such as the loss.
        start: Float. When the units began to be counted, by `time.monotonic`.
        start_done: Float. Units that were done then.
    """

    description: str
    done: float = 0
    total: float | None = None
    note: str = ""
    start: float = 0.0
    start_done: float = 0.0

    def update(self, done: float, total: float | None, note: str) -> None:
        if done < self.done or total != self.total:  # Another task of the same kind begins.
            self.start, self.start_done = time.monotonic(), done
        self.done, self.total, self.note = done, total, note

    def seconds_left(self) -> float | None:
        """Return about how long the rest takes, or None if it is not known."""
        advanced = self.done - self.start_done
        if not self.total or advanced <= 0:
            return None
        return (time.monotonic() - self.start) / advanced * (self.total - self.done)


class Update:
    """Function of (done, total) that updates the progress of a task."""

    def __init__(self, state: _State, bar: Progress | None) -> None:
        self._state = state
        self._bar = bar
        self._task = bar.add_task(state.description, total=None, note="") if bar else None

    def __call__(self, done: float, total: float | None, note: str = "") -> None:
        """Update the progress.

        Args:
            done: Float. Units that are done.
            total: Float or None. All units.
            note: String. Printed behind the bar. Defaults to "".
        """
        if self._bar is not None and self._task is not None and done < self._state.done:
            self._bar.reset(self._task)
        self._state.update(done, total, note)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=note)


@contextlib.contextmanager
def progress(description: str, *, counts: bool = True) -> Iterator[Update]:
    """Show a progress bar on standard error, or a line every few seconds if it is no terminal.

    Args:
        description: String. What is done.
        counts: Boolean. Whether the number of units is shown. Defaults to True.

    Yields:
        An `Update`.
    """
    console = Console(stderr=True)
    state = _State(description=description, start=time.monotonic())
    if not console.is_terminal:
        with _lines(state, counts):
            yield Update(state, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *([MofNCompleteColumn()] if counts else []),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Update(state, bar)


@contextlib.contextmanager
def _lines(state: _State, counts: bool) -> Iterator[None]:
    """Print a line on standard error every few seconds, also while nothing is updated."""
    start, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            count = f" {state.done:g}/{state.total:g}" if counts and state.total else ""
            parts = [f"{state.description}{count}", state.note, f"{time.monotonic() - start:.0f} s"]
            left = state.seconds_left()
            parts += [] if left is None else [f"about {_duration(left)} left"]
            echo(", ".join(filter(None, parts)), err=True)

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
