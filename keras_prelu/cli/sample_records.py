"""The record beside a fine-tuned model of the samples that it was trained on.

`compare`, `report` and `evaluate` read it, so that no score is measured unnoticed on samples that a
model was trained on; a further fine-tuning holds out others; and what is made from the model, such
as a baked file, gets a copy.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_prelu.io.model_names import ModelName
from keras_prelu.utils.user_warnings import warn

__all__ = [
    "SampleRecord",
    "carry_record",
    "check_carried_record",
    "file_digests",
    "find_record",
    "read_record",
    "record_path",
    "unseen_samples",
    "used_samples",
]

_DIGEST_LETTERS = 32


def record_path(model: Path) -> Path:
    """Return the path of a model's record: `m.finetuned.keras` → `m.finetuned.training.json`.

    The control, `m.finetuned.control.keras`, has the same record.
    """
    path = model if model.name else model.resolve()  # A folder may be named ".".
    stem = path.stem.removesuffix(".control")
    return path.with_name(f"{stem}.training.json")


def file_digests(*models: Path) -> dict[str, str]:
    """Return a digest of each file by its name, for the record of these models."""
    return {model.name: _file_digest(model) for model in models if model.is_file()}


def find_record(model: ModelName) -> Path | None:
    """Return the record of a model, or None if there is none.

    It is the one whose name belongs to the model's, or, if the model was renamed, one in the same
    folder that was written for this file.
    """
    if not model.is_file:
        return None
    path = record_path(model.path)
    if path.exists():
        return path
    others = sorted(path.parent.glob("*.training.json"))
    if not others or not model.path.is_file():
        return None
    digest = _file_digest(model.path)
    return next((other for other in others if digest in _recorded_files(other).values()), None)


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """The samples of all trainings of a model, as digests.

    Attributes:
        trained: Array of integers. Samples that were trained on.
        held_out: Array of integers. Samples that were held out, in every training.
    """

    trained: Any
    held_out: Any

    @classmethod
    def of(cls, train: Any, validation: Any) -> SampleRecord:
        """Return the record of a training, given its `Samples`."""
        from keras_prelu.data.digests import sample_digests

        return cls(trained=sample_digests(train), held_out=sample_digests(validation))

    def used(self, digests: Any) -> Any:
        """Return for each digest whether its sample was trained on."""
        import numpy as np

        return np.isin(digests, self.trained) & ~np.isin(digests, self.held_out)

    def after(self, earlier: SampleRecord) -> SampleRecord:
        """Return the record of both trainings of a model."""
        import numpy as np

        held_out = [
            self.held_out[~np.isin(self.held_out, earlier.trained)],
            earlier.held_out[~np.isin(earlier.held_out, self.trained)],
        ]
        return SampleRecord(
            trained=np.union1d(self.trained, earlier.trained),
            held_out=np.unique(np.concatenate(held_out)),
        )

    def as_json(self) -> dict[str, str]:
        return {"trained": _encoded(self.trained), "held_out": _encoded(self.held_out)}


def read_record(model: ModelName) -> SampleRecord | None:
    """Return the record of a model, or None if there is none.

    Warns of a record that can't be read, and of one that was written for another file: the model
    may have been trained on, or replaced by another one, and its samples count as used.
    """
    path = find_record(model)
    if path is None:
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        record = SampleRecord(
            trained=_decoded(stored["trained"]), held_out=_decoded(stored["held_out"])
        )
    except (OSError, ValueError, TypeError, KeyError):
        warn(
            f"The record '{path}' can't be read: samples that '{model}' was trained on are not"
            " recognized.",
        )
        return None
    digest = _recorded_files(path).get(model.path.name)
    if digest is not None and digest not in file_digests(model.path).values():
        warn(
            f"'{model}' was changed or replaced after its record '{path}' was written. The samples"
            " in the record count as used to train it; if it is another model, delete the record.",
        )
    return record


def check_carried_record(source: ModelName, output: Path, *, force: bool) -> None:
    """Raise a FileError if the record of a model can't be written beside what is made from it."""
    from keras_prelu.io.model_files import check_output

    if read_record(source) is not None:
        check_output(record_path(output), force=force, suffix=".json")


def carry_record(source: ModelName, output: Path, *, force: bool) -> None:
    """Write the record of a model, if it has one, beside a model that was made from it."""
    from keras_prelu.io.atomic import atomic_write_text

    record = read_record(source)
    if record is not None:
        files = file_digests(output)
        stored = {"made_from": str(source), "files": files, **record.as_json()}
        atomic_write_text(record_path(output), json.dumps(stored, indent=1) + "\n", overwrite=force)


def used_samples(samples: Any, models: Sequence[ModelName]) -> tuple[Any, list[str]]:
    """Return for each sample whether a model was trained on it, and the names of these models."""
    import numpy as np

    records = {name: record for name in models if (record := read_record(name)) is not None}
    used = np.zeros(len(samples), dtype=bool)
    if not records:
        return used, []
    from keras_prelu.data.digests import sample_digests

    digests = sample_digests(samples)
    names: list[str] = []
    for name, record in records.items():
        of_model = record.used(digests)
        names += [name] if of_model.any() else []
        used |= of_model
    return used, names


def unseen_samples(samples: Any, models: Sequence[ModelName]) -> tuple[Any, str]:
    """Return the samples that no model was trained on, by the records beside their files.

    Args:
        samples: `Samples`.
        models: Sequence of `ModelName`. Models with or without records beside their files.

    Returns:
        A pair of the samples and of a sentence on those that are left out; it is empty if there are
        none. If the models were trained on all samples, all are returned, and the sentence says so.
    """
    import numpy as np

    used, names = used_samples(samples, models)
    if not used.any():
        return samples, ""
    trained_on = f"used to train {' and '.join(names)}"
    if used.all():
        return samples, (
            f"All {len(samples):,} samples were {trained_on}: the scores do not show how the models"
            " do on new samples."
        )
    return samples.take(np.flatnonzero(~used)), (
        f"{int(used.sum()):,} of {len(samples):,} samples were {trained_on} and are left out."
    )


def _recorded_files(record: Path) -> dict[str, str]:
    """Return the digests of files in a record by their names; empty if it can't be read."""
    try:
        files = json.loads(record.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return files if isinstance(files, dict) else {}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()[:_DIGEST_LETTERS]


def _encoded(digests: Any) -> str:
    return base64.b64encode(digests.astype("<u8").tobytes()).decode("ascii")


def _decoded(text: str) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8")
