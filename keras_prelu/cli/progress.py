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
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

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
        stage: String. Which of several parts is under way, such as "ReLU control"; units are
            counted anew for each.
        start: Float. When the units began to be counted, by `time.monotonic`.
        start_done: Float. Units that were done then.
    """

    description: str
    done: float = 0
    total: float | None = None
    note: str = ""
    stage: str = ""
    start: float = 0.0
    start_done: float = 0.0

    def update(self, done: float, total: float | None, note: str, stage: str) -> None:
        if self.is_begun_anew(done, total, stage):
            self.start, self.start_done = time.monotonic(), done
        self.done, self.total, self.note, self.stage = done, total, note, stage

    def is_begun_anew(self, done: float, total: float | None, stage: str) -> bool:
        """Return whether an update is the first one of another stage or of another task."""
        return done < self.done or total != self.total or stage != self.stage

    def seconds_left(self) -> float | None:
        """Return about how long the rest of the stage takes, or None if it is not known.

        It is not known either when all units are done: what follows them has none.
        """
        advanced = self.done - self.start_done
        if not self.total or advanced <= 0 or self.done >= self.total:
            return None
        return (time.monotonic() - self.start) / advanced * (self.total - self.done)

    def left(self) -> str:
        """Return the time that is left in words, or ""."""
        seconds = self.seconds_left()
        if seconds is None:
            return ""
        return f"about {_duration(seconds)} left{f' of {self.stage}' if self.stage else ''}"


class _Left(ProgressColumn):
    """Column with the time that is left."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self._state = state

    def render(self, task: Task) -> Text:
        return Text(self._state.left())


class Update:
    """Function of (done, total) that updates the progress of a task or of its present stage."""

    def __init__(self, state: _State, bar: Progress | None) -> None:
        self._state = state
        self._bar = bar
        self._task = bar.add_task(state.description, total=None, note="") if bar else None

    def __call__(
        self, done: float, total: float | None, note: str = "", *, stage: str = ""
    ) -> None:
        """Update the progress.

        Args:
            done: Float. Units that are done.
            total: Float or None. All units.
            note: String. Printed behind the bar. Defaults to "".
            stage: String. Name of the part that is under way. Defaults to "".
        """
        is_anew = self._state.is_begun_anew(done, total, stage)
        self._state.update(done, total, note, stage)
        if self._bar is None or self._task is None:
            return
        if is_anew:
            self._bar.reset(self._task)
        said = ", ".join(filter(None, [stage, note]))
        self._bar.update(self._task, completed=done, total=total, note=said)


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
        TextColumn("{task.fields[note]}"),
        _Left(state),
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
            said = [f"{state.description}{count}", state.stage, state.note]
            parts = [*said, f"{time.monotonic() - start:.0f} s", state.left()]
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
