"""What a fine-tuning writes: the model, its control, and a record of the samples it used.

`compare`, `report` and `evaluate` read the record, so that no score is measured unnoticed on
samples that a model was trained on.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_prelu.cli.output import echo
from keras_prelu.errors import KerasPReLUWarning
from keras_prelu.io.model_names import ModelName

__all__ = [
    "FineTunedFiles",
    "check_finetuned_outputs",
    "read_histories",
    "record_path",
    "unseen_samples",
    "write_finetuned",
]


@dataclass(frozen=True, kw_only=True)
class FineTunedFiles:
    """The files of a fine-tuning.

    Attributes:
        output: Path of the fine-tuned model.
        control: Path of the fine-tuned ReLU control, or None without one.
        record: Path of the record of the samples.
        best: `ModelName` of the model to keep.
    """

    output: Path
    control: Path | None
    record: Path
    best: ModelName

    def print(self) -> None:
        """Print what was written, and the better model if it is another."""
        control = f" and its control, {self.control}" if self.control else ""
        echo(f"Wrote {self.output}{control}.")
        if self.best != str(self.output):
            echo(f"The better model is {self.best}.")


def record_path(model: Path) -> Path:
    """Return the path of a model's record: `m.finetuned.keras` → `m.finetuned.training.json`.

    The control, `m.finetuned.control.keras`, has the same record.
    """
    stem = model.stem.removesuffix(".control")
    return model.with_name(f"{stem}.training.json")


def check_finetuned_outputs(
    output: Path, *, control: bool, force: bool, converted: bool = False
) -> None:
    """Raise a FileError if a file can't be written, before anything is trained.

    Args:
        output: Path of the model.
        control: Boolean. Whether a control is trained.
        force: Boolean. Whether existing files are replaced.
        converted: Boolean. Whether the model is converted first and has no file then. Defaults to
            False.
    """
    from keras_prelu.io.model_files import check_output
    from keras_prelu.io.model_names import beside

    check_output(output, force=force)
    check_output(record_path(output), force=force, suffix=".json")
    if control:
        check_output(beside(output, "control"), force=force)
    if converted:
        check_output(beside(output, "converted"), force=force)


def write_finetuned(
    result: Any,
    output: Path,
    *,
    original: ModelName | None,
    converted: ModelName | Any,
    train: Any,
    validation: Any,
    force: bool,
) -> FineTunedFiles:
    """Write a fine-tuned model, its control, and the record of the samples.

    A file that came in is not overwritten by a model that is worse; that one is written beside it.

    Args:
        result: `FineTuning`.
        output: Path of the model.
        original: `ModelName` of the ReLU model, or None if it is not known.
        converted: `ModelName` of the converted model that was fine-tuned, or that model if it has
            no file; it gets one if it is better than all others.
        train: `Samples` that were trained on.
        validation: `Samples` that were held out.
        force: Boolean. Whether existing files are replaced.
    """
    from keras_prelu.data.digests import sample_digests
    from keras_prelu.io.atomic import atomic_write_text
    from keras_prelu.io.model_files import save_model
    from keras_prelu.io.model_names import beside
    from keras_prelu.training.result_tables import named_trainings

    incoming = converted if original is None or result.incoming == "model" else original
    if not isinstance(incoming, ModelName):
        incoming = ModelName(beside(output, "converted"))
        if result.best == "incoming":
            save_model(converted, incoming.path, force=force)
    if result.best == "incoming" and _same_file(output, incoming):
        output = beside(output, "finetuned")
    save_model(result.model, output, force=force)
    control = None
    if result.control is not None and result.control is not result.prelu:
        control = beside(output, "control")
        save_model(result.control.model, control, force=force)
    files: dict[str, Path | ModelName] = {
        "model": output,
        "control": control or output,
        "incoming": incoming,
    }
    best = ModelName(files[result.best])
    record = {
        "verdict": result.verdict,
        "best": str(best),
        "control": None if control is None else str(control),
        "histories": {
            name: {key: list(map(float, values)) for key, values in training.history.items()}
            for name, training in named_trainings(result)
        },
        "trained": _encoded(sample_digests(train)),
        "held_out": _encoded(sample_digests(validation)),
    }
    atomic_write_text(record_path(output), json.dumps(record, indent=1) + "\n", overwrite=force)
    return FineTunedFiles(output=output, control=control, record=record_path(output), best=best)


def _same_file(output: Path, incoming: ModelName) -> bool:
    return incoming.is_file and output.exists() and output.samefile(incoming)


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

    records = {
        name: record for name in models if name.is_file and (record := _read(name.path)) is not None
    }
    if not records:
        return samples, ""
    from keras_prelu.data.digests import sample_digests

    digests = sample_digests(samples)
    used = np.zeros(len(samples), dtype=bool)
    names = []
    for path, (trained, held_out) in records.items():
        of_model = np.isin(digests, trained) & ~np.isin(digests, held_out)
        names += [path] if of_model.any() else []
        used |= of_model
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


def read_histories(model: ModelName) -> dict[str, dict[str, list[float]]]:
    """Return the metrics by epoch of a fine-tuned model and its controls; empty if not recorded."""
    if not model.is_file:
        return {}
    try:
        stored = json.loads(record_path(model.path).read_text(encoding="utf-8"))["histories"]
        return {
            str(name): {str(key): list(map(float, values)) for key, values in history.items()}
            for name, history in stored.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _read(model: Path) -> tuple[Any, Any] | None:
    """Return the digests of trained and held-out samples, or None if there is no record.

    Warns of a record that can't be read.
    """
    path = record_path(model)
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return _decoded(stored["trained"]), _decoded(stored["held_out"])
    except (OSError, ValueError, TypeError, KeyError):
        warnings.warn(
            f"The record '{path}' can't be read: samples that '{model}' was trained on are not"
            " recognized.",
            KerasPReLUWarning,
            stacklevel=2,
        )
        return None


def _encoded(digests: Any) -> str:
    return base64.b64encode(digests.astype("<u8").tobytes()).decode("ascii")


def _decoded(text: str) -> Any:
    import numpy as np

    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<u8")
