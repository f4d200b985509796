"""What a fine-tuning writes: the model, its control, and a record (`sample_records`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_prelu.cli.output import echo
from keras_prelu.cli.sample_records import (
    SampleRecord,
    file_digests,
    find_record,
    read_record,
    record_path,
)
from keras_prelu.io.model_names import ModelName

__all__ = [
    "FineTunedFiles",
    "check_finetuned_outputs",
    "control_beside",
    "read_histories",
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
        advice: String. Which file to keep and why, as one sentence.
    """

    output: Path
    control: Path | None
    record: Path
    best: ModelName
    advice: str

    def print(self) -> None:
        """Print what was written, and which file to keep."""
        control = f" and its control, {self.control}" if self.control else ""
        echo(f"Wrote {self.output}{control}.")
        echo(self.advice)


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


def control_beside(model: ModelName) -> ModelName | None:
    """Return the control that was fine-tuned together with a model, if its file is there.

    The record tells whether there was one: a control of an earlier training may be left over.
    """
    from keras_prelu.io.model_names import beside

    recorded = _stored_record(model).get("control")
    control = beside(model, "control")
    is_recorded = isinstance(recorded, str) and Path(recorded).name == control.name
    return ModelName(control) if is_recorded and control.is_file() else None


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
    from keras_prelu.io.atomic import atomic_write_text
    from keras_prelu.io.model_files import save_model
    from keras_prelu.io.model_names import beside
    from keras_prelu.training.result_tables import named_trainings

    incoming = converted if original is None or result.incoming == "model" else original
    if not isinstance(incoming, ModelName):
        incoming = ModelName(beside(output, "converted"))
        if result.best == "incoming":
            save_model(converted, incoming.path, force=force)
    is_worse = result.best == "incoming" or result.is_worse_than_incoming
    if is_worse and _same_file(output, incoming):
        output = _unused(beside(output, "finetuned"))
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
    advice = result.advice(**{key: str(name) for key, name in files.items()})
    record = {
        "verdict": result.verdict,
        "best": str(best),
        "advice": advice,
        "control": None if control is None else str(control),
        "files": file_digests(output, *([] if control is None else [control])),
        "histories": {
            name: {key: list(map(float, values)) for key, values in training.history.items()}
            for name, training in named_trainings(result)
        },
        **_samples(train, validation, [original, converted]).as_json(),
    }
    atomic_write_text(record_path(output), json.dumps(record, indent=1) + "\n", overwrite=force)
    return FineTunedFiles(
        output=output, control=control, record=record_path(output), best=best, advice=advice
    )


def _samples(train: Any, validation: Any, models: list[Any]) -> SampleRecord:
    """Return the record of a training, and of those before it of the models that came in."""
    record = SampleRecord.of(train, validation)
    for name in models:
        earlier = read_record(name) if isinstance(name, ModelName) else None
        record = record if earlier is None else record.after(earlier)
    return record


def _unused(path: Path) -> Path:
    """Return a path, with a number if there is such a file."""
    number, free = 2, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _same_file(output: Path, incoming: ModelName) -> bool:
    return incoming.is_file and output.exists() and output.samefile(incoming)


def read_histories(model: ModelName) -> dict[str, dict[str, list[float]]]:
    """Return the metrics by epoch of a fine-tuned model and its controls; empty if not recorded."""
    try:
        return {
            str(name): {str(key): list(map(float, values)) for key, values in history.items()}
            for name, history in _stored_record(model)["histories"].items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _stored_record(model: ModelName) -> dict[str, Any]:
    """Return the record beside the file of a model; empty if there is none that can be read."""
    path = find_record(model)
    if path is None:
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}
