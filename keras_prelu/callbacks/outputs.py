"""What monitors write: lines of a CSV file, TensorBoard's event files, and active runs."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_prelu.callbacks.active_runs import active_runs
from keras_prelu.errors import FileError, InvalidArgumentError

__all__ = ["MonitorOutputs"]


class MonitorOutputs:
    """The files of a monitor, and the active runs of trackers. Existing files are extended.

    Args:
        log_dir: Str or path. Folder of TensorBoard's event files, or None.
        csv_file: Str or path. CSV file, or None.
        columns: Sequence of str. The header of the CSV file.

    Raises:
        InvalidArgumentError: A ValueError; tensorboardX is not installed, and `log_dir` is given.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None,
        csv_file: str | os.PathLike[str] | None,
        columns: Sequence[str],
    ) -> None:
        if log_dir is not None:
            _summary_writer()
        self.log_dir, self.csv_file = log_dir, csv_file
        self._columns = tuple(columns)
        self._writer: Any = None
        self._epochs_before, self._last_epoch = 0, -1

    def open(self, subfolder: str = "") -> None:
        """Create the files, so that a path that can't be written is found before training.

        Args:
            subfolder: Str. Folder inside `log_dir` for the event files. Defaults to `log_dir`.

        Raises:
            FileError: A file can't be written.
        """
        try:
            if self.log_dir is not None:
                # tensorboardX names files by the second, so it could overwrite an existing file.
                self._writer = _summary_writer()(
                    str(Path(self.log_dir, subfolder)), filename_suffix=f".{time.time_ns()}"
                )
            if self.csv_file is not None:
                self._begin(Path(self.csv_file))
        except OSError as error:
            path = self.csv_file if error.filename is None else error.filename
            raise FileError(
                f"The records of training can't be written to '{path}':"
                f" {os.strerror(error.errno or 0)}."
            ) from error

    def _begin(self, path: Path) -> None:
        if path.exists() and path.stat().st_size:
            self.rows()
            with open(path, "a"):
                return
        with open(path, "w", newline="") as file:
            csv.writer(file).writerow(self._columns)

    def rows(self) -> list[dict[str, str]]:
        """Return the lines that the CSV file has, by column.

        Raises:
            InvalidArgumentError: A ValueError; the file has other columns.
        """
        if self.csv_file is None or not Path(self.csv_file).is_file():
            return []
        with open(self.csv_file, newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or self._columns) != self._columns:
                raise InvalidArgumentError(
                    f"`csv_file` '{self.csv_file}' exists and has other columns than this monitor"
                    " writes. Give another file."
                )
            return list(reader)

    def add_rows(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add lines to the CSV file; None becomes an empty cell."""
        if self.csv_file is not None:
            with open(self.csv_file, "a", newline="") as file:
                csv.writer(file).writerows(rows)

    def count_epoch(self, epoch: int) -> None:
        """Count an epoch. Where their numbers start again, another training has begun."""
        if epoch <= self._last_epoch:
            self._epochs_before += self._last_epoch + 1
        self._last_epoch = epoch

    def takes_summaries(self) -> bool:
        """Return whether TensorBoard or the active run of a tracker gets scalars."""
        return self.log_dir is not None or bool(active_runs())

    def add_summaries(
        self,
        epoch: int,
        scalars: Mapping[str, Any],
        histograms: Mapping[str, np.ndarray] | None = None,
        *,
        logs: Mapping[str, Any],
    ) -> None:
        """Write scalars and histograms, by their tags, for TensorBoard and active runs.

        Args:
            epoch: Int. The epoch. Active runs get the number of epochs before it, those of earlier
                trainings included.
            scalars: Mapping from tags to floats.
            histograms: Mapping from tags to arrays. Defaults to none.
            logs: Mapping from names to floats. Losses and metrics, for TensorBoard alone: trackers
                have Keras callbacks for them.
        """
        values = {tag: float(value) for tag, value in scalars.items()}
        for run in active_runs():
            run.log(self._epochs_before + epoch, values, histograms or {})
        if self._writer is None:
            return
        losses = {f"epoch/{name}": float(value) for name, value in logs.items()}
        for tag, value in (losses | values).items():
            self._writer.add_scalar(tag, value, epoch)
        for tag, array in (histograms or {}).items():
            self._writer.add_histogram(tag, np.ravel(array), epoch)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InvalidArgumentError(
            "`log_dir` needs tensorboardX: pip install 'keras-prelu[tensorboard]'."
        ) from error
    return SummaryWriter
