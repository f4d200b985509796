"""The checkpoints of a fine-tuning, in one folder.

`checkpoint_file` is the format of a file, and `resumption.Checkpoint` says what it holds.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import filelock

from keras_prelu.backend.hosts import host, wait_for_all
from keras_prelu.errors import FileError, FineTuningError, InvalidArgumentError
from keras_prelu.io.atomic import atomic_write_text
from keras_prelu.training.checkpoint_file import StateFile
from keras_prelu.utils.checks import check_integer

__all__ = ["Checkpoints", "steps_between_checkpoints"]


def steps_between_checkpoints(save_freq: int | str, folder: Any) -> int | None:
    """Return every how many steps a training is stored, or None for each epoch alone.

    Args:
        save_freq: Int or "epoch", as of `finetune`.
        folder: Path of the folder of checkpoints, or None.

    Raises:
        InvalidArgumentError: A ValueError; it is neither, or there is no folder.
    """
    if isinstance(save_freq, str):
        if save_freq == "epoch":
            return None
        raise InvalidArgumentError(
            f"`save_freq` must be 'epoch' or a number of steps. Received: save_freq={save_freq!r}"
        )
    check_integer("save_freq", save_freq, minimum=1)
    if folder is None:
        raise InvalidArgumentError(
            "`save_freq` is how often `checkpoints` are stored. Give their folder too."
            f" Received: save_freq={save_freq}"
        )
    return int(save_freq)


class Checkpoints:
    """The checkpoints of one fine-tuning, in one folder.

    The folder has a file for each model that is trained, and one for the losses of short trainings.
    It is locked until it is closed, also as a context manager, or until the process ends.

    Args:
        folder: `pathlib.Path` of the folder, which is created if it is missing.
        key: Str. Fingerprint of the fine-tuning, see `fingerprint`.
        save_freq: Int. Steps from one state of a training that is stored to the next, or None for
            epochs alone. Defaults to None.

    Raises:
        FineTuningError: The folder holds checkpoints of another fine-tuning, or another one that is
            running uses it.
        FileError: The folder can't be written, or a file in it is damaged.
    """

    def __init__(self, folder: Path, key: str, save_freq: int | None = None) -> None:
        self._folder = folder
        self._key = key
        self._save_freq = save_freq
        self._lock = filelock.FileLock(folder / ".lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The first host locks the folder for all hosts that train together.
            if not host():
                self._lock.acquire(timeout=0)
            self._check_key()
        except filelock.Timeout as error:
            raise FineTuningError(
                f"Another fine-tuning that is running uses the checkpoints in '{folder}'. Wait for"
                " it, or choose another folder."
            ) from error
        except OSError as error:
            raise FileError(
                f"Checkpoints can't be written to '{folder}': {os.strerror(error.errno or 0)}."
            ) from error

    def _check_key(self) -> None:
        try:
            stored_keys = self._read_list("key")
            is_ours, in_use = stored_keys == [self._key], self._is_in_use(bool(stored_keys))
            wait_for_all("checkpoints are read")
            if in_use and not is_ours:
                raise FineTuningError(
                    f"'{self._folder}' holds checkpoints of another fine-tuning: other data,"
                    " models, options or versions. Remove it, or choose another folder."
                )
            if not is_ours and not host():
                self._write_list("key", [self._key])
        except BaseException:
            self.close()
            raise

    def _is_in_use(self, has_key: bool) -> bool:
        """Return whether a fine-tuning has stored anything but its key, such as before an error.

        Losses without a key may be anyone's; arrays without a key may be no checkpoints.
        """
        has_losses = (self._folder / "losses.json").exists()
        return has_losses or (has_key and any(self._folder.glob("*.npz")))

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def file_of(self, name: str) -> StateFile:
        """Return the file of the checkpoint of a training."""
        return StateFile(self._folder / f"{name}.npz", self._save_freq, self._key)

    def losses(self) -> list[float]:
        """Return the losses of the short trainings that are done."""
        return [float(loss) for loss in self._read_list("losses")]

    def add_loss(self, loss: float) -> None:
        """Store the loss of one more short training."""
        if not host():
            self._write_list("losses", [*self.losses(), loss])

    def _read_list(self, name: str) -> list[Any]:
        path = self._folder / f"{name}.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        except ValueError as error:
            raise StateFile(path).damaged() from error
        if not isinstance(values, list):
            raise StateFile(path).damaged()
        return values

    def _write_list(self, name: str, values: list[Any]) -> None:
        atomic_write_text(self._folder / f"{name}.json", json.dumps(values), overwrite=True)
