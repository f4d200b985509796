"""Conversion, calibration and fine-tuning with the options of the command line.

Each is run under a progress bar.
"""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_prelu.cli.options.calibration import CalibrationOptions
from keras_prelu.cli.options.conversion import ConversionOptions
from keras_prelu.cli.options.session import SessionOptions
from keras_prelu.cli.options.training import TrainingOptions
from keras_prelu.cli.output import echo
from keras_prelu.cli.progress import Update, progress
from keras_prelu.io.model_names import ModelName

__all__ = [
    "calibrate_model",
    "class_numbers",
    "convert_model",
    "finetune_model",
    "random_indices",
    "split_labelled",
    "training_name",
    "trial_progress",
]

_MONITORED_SAMPLES = 512
_HELD_OUT_SHARE = 0.2
_LEAST_HELD_OUT = 5
_SECONDS_BETWEEN_READINGS = 0.5
_SHOWN_METRICS = 4


def convert_model(
    original: Any,
    samples: Any,
    options: ConversionOptions,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> Any:
    """Convert a model, calibrate it if the options say so, and return the `Conversion`.

    Args:
        original: `keras.Model`.
        samples: `Samples` or None.
        options: `ConversionOptions`.
        calibration: `CalibrationOptions`.
        session: `SessionOptions`.
    """
    from keras_prelu.calibration.config import DISTILLATION_EPOCHS
    from keras_prelu.conversion.convert import run_conversion
    from keras_prelu.sites import SMOOTH

    calibrates = options.calibrates(has_data=samples is not None)
    description = "Calibrating, up to 7 times" if options.alpha == "auto" else "Calibrating"
    has_passes = options.alpha == "auto" or options.method == "distilled"
    with progress(description) if calibrates else nullcontext() as update:
        return run_conversion(
            original,
            to=options.to,
            alpha=options.alpha,
            tolerance=options.tolerance,
            parameterization=options.parameterization,
            shared_axes=None if options.shared_axes == "none" else options.shared_axes,
            rescale=options.method,
            calibration_data=samples,
            include=SMOOTH if options.activations == "smooth" else options.include or None,
            exclude=options.exclude or None,
            keep_slopes=options.keep_slopes,
            train_frozen_slopes=options.train_frozen_slopes,
            verify=options.verify,
            profile=options.profile,
            max_samples=calibration.samples,
            memory_limit=calibration.memory_limit,
            seed=session.seed,
            distillation_epochs=options.distill or DISTILLATION_EPOCHS,
            on_step=_by_pass(update) if update is not None and has_passes else update,
        )


def _by_pass(update: Update) -> Callable[[float, float], None]:
    """Return a function of (done, total) that counts the passes that follow each other."""
    number, last = 0, (0.0, 0.0)

    def show(done: float, total: float) -> None:
        nonlocal number, last
        if not number or done < last[0] or total != last[1]:
            number += 1
        last = done, total
        update(done, total, stage=f"pass {number}")

    return show


def calibrate_model(
    converted: Any,
    original: Any,
    samples: Any,
    options: CalibrationOptions,
    session: SessionOptions,
    *,
    refit_frozen: bool = False,
) -> Any:
    """Calibrate a converted model in place, and return the `Calibration`."""
    from keras_prelu.calibration.calibrate import calibrate

    with progress("Calibrating") as update:
        return calibrate(
            converted,
            original,
            _draw_unlabelled(samples, options.samples, session.seed),
            memory_limit=options.memory_limit,
            seed=session.seed,
            refit_frozen=refit_frozen,
            on_step=update,
        )


def _draw_unlabelled(samples: Any, count: int, seed: int) -> Any:
    """Draw at most `count` of the samples, and return them without labels."""
    from keras_prelu.data.samples import Samples

    return Samples(samples.take(random_indices(samples, count, seed)).x)


def random_indices(samples: Any, count: int, seed: int) -> Any:
    """Return the positions of at most `count` samples, drawn without replacement."""
    import numpy as np

    return np.random.default_rng(seed).permutation(len(samples))[:count]


def class_numbers(labels: Any, model: Any) -> Any:
    """Return the labels as the class numbers of a classifier, or None if they are none.

    Args:
        labels: Array of class numbers, also of 0 and 1 for a single output, or one-hot; or anything
            else.
        model: `keras.Model`.
    """
    import numpy as np

    outputs = getattr(model, "outputs", None) or []
    if labels is None or len(outputs) != 1 or len(outputs[0].shape) != 2:
        return None
    if isinstance(labels, (dict, list, tuple)):
        return None
    array, count = np.asarray(labels), outputs[0].shape[1]
    if count > 1 and array.shape[1:] == (count,):
        is_one_hot = np.all(np.isin(array, (0, 1))) and np.all(array.sum(1) == 1)
        return array.argmax(1) if is_one_hot else None
    is_class = array.dtype.kind in "iu" if count > 1 else np.all(np.isin(array, (0, 1)))
    return array.reshape(-1).astype("int64") if is_class and array.size == len(array) else None


def split_labelled(
    dataset: Any, model: Any, session: SessionOptions, models: Sequence[ModelName]
) -> tuple[Any, Any]:
    """Return training samples and validation samples.

    The validation samples are the data set's test samples; without any, a fifth of its samples is
    held out. They are samples that none of the models was trained on, by the records beside them.

    Raises:
        DataError: There are no labels, or too few samples that no model was trained on.
    """
    import numpy as np

    from keras_prelu.cli.sample_records import unseen_samples, used_samples
    from keras_prelu.data.column_check import check_labelled
    from keras_prelu.data.dataset import split
    from keras_prelu.errors import DataError

    check_labelled(dataset, dataset.train, model)
    given = dataset.train if dataset.test is None else dataset.test
    used, names = used_samples(given, models)
    if used.any() and used.sum() > len(given) - _LEAST_HELD_OUT:
        raise DataError(
            f"{int(used.sum()):,} of the {len(given):,} samples were used to train"
            f" {' and '.join(names)}, which leaves too few to judge by. Give other samples."
        )
    if dataset.test is not None:
        validation, note = unseen_samples(dataset.test, models)
        if note:
            echo(note, err=True)
        return dataset.train, validation
    if not used.any():
        return split(dataset.train, _HELD_OUT_SHARE, session.seed)
    unused = np.random.default_rng(session.seed).permutation(np.flatnonzero(~used))
    held_out = np.sort(unused[: round(len(given) * _HELD_OUT_SHARE)])
    return given.take(np.setdiff1d(np.arange(len(given)), held_out)), given.take(held_out)


@contextmanager
def _hint_at_interrupt(checkpoints: Path | None) -> Iterator[None]:
    """Say, when a fine-tuning is interrupted, how it can go on."""
    try:
        yield
    except KeyboardInterrupt:
        if checkpoints is None:
            echo("With --checkpoints FOLDER, the same command would go on from here.", err=True)
        else:
            echo(f"The same command goes on from the checkpoints in {checkpoints}.", err=True)
        raise


def finetune_model(
    model: Any,
    train: Any,
    validation: Any,
    original: Any,
    options: TrainingOptions,
    session: SessionOptions,
    *,
    group: str | None = None,
) -> Any:
    """Fine-tune a model and its controls, and return the `FineTuning`.

    The options are named like the arguments of `finetune`, so that a new option needs no change
    here.

    Args:
        model: `keras.Model`. A converted model, or a ReLU model if the options name a recipe.
        train: `Samples`.
        validation: `Samples`.
        original: `keras.Model` or None. The ReLU model of which `model` is a conversion.
        options: `TrainingOptions`.
        session: `SessionOptions`.
        group: String or None. What a tracker calls the runs of this fine-tuning together.
    """
    import keras

    from keras_prelu.backend.devices import gpu
    from keras_prelu.errors import KerasPReLUWarning
    from keras_prelu.training.finetune import finetune
    from keras_prelu.training.named_settings import named_settings

    settings = named_settings(asdict(options))
    # For a converted model, "auto" trains the model as it is; no recipe means the same here.
    settings["recipe"] = options.recipe or "auto"
    if options.runs > 1:
        _print_cost(settings["recipe"] if original is None else "", options)
    callbacks = _logging(settings.pop("log_dir"), settings.pop("tracker"), group, train)
    where = f"on {gpu() or 'the CPU'} with {keras.backend.backend()}"
    # Trackers print where a run is found, and standard output is for the result.
    with (
        _hint_at_interrupt(options.checkpoints),
        redirect_stdout(sys.stderr),
        progress(f"Fine-tuning {where}", counts=False) as update,
    ):
        result = finetune(
            model,
            train,
            validation,
            original=original,
            callbacks=lambda training: [_training_progress(update, training), *callbacks(training)],
            seed=session.seed,
            on_trial=trial_progress(update),
            **settings,
        )
    if options.log_dir is not None and not result.slopes_after:
        warnings.warn(
            f"Recipe {result.recipe} trains no slopes, so nothing was logged in {options.log_dir}.",
            KerasPReLUWarning,
            stacklevel=2,
        )
    return result


def _print_cost(recipe: str, options: TrainingOptions) -> None:
    """Print what several runs cost, on standard error."""
    from keras_prelu.training.runs import described_cost

    cost = described_cost(
        options.runs,
        epochs=options.epochs,
        recipe=recipe,
        budget=options.budget,
        control=options.control,
        further=len(options.controls),
    )
    echo(cost, err=True)


def _logging(
    log_dir: Path | None, tracker: str | None, group: str | None, train: Any
) -> Callable[[str], list[Any]]:
    """Return a function that makes the callbacks that log one training, from its name."""
    from keras_prelu.callbacks import SlopeMonitor, TrackedRuns

    if log_dir is None and tracker is None:
        return lambda training: []
    runs = None if tracker is None else TrackedRuns(tracker, group=group)
    csv_file = None if log_dir is None else log_dir / "slopes.csv"
    samples = train.take(range(min(len(train), _MONITORED_SAMPLES))).x
    return lambda training: [
        *(() if runs is None else runs(training)),
        SlopeMonitor(log_dir, csv_file, samples=samples),
    ]


def trial_progress(update: Update) -> Callable[[int, int], None]:
    """Return a function of (trainings done, all trainings) that shows how far a search is."""
    from keras_prelu.training.recipe_search import share_of_steps

    def show(done: int, total: int) -> None:
        update(
            share_of_steps(done, total), 1.0, f"{done}/{total} done", stage="the short trainings"
        )

    return show


def _training_progress(update: Update, training: str) -> Any:
    """Return a callback that shows the steps, losses and metrics of one training.

    Args:
        update: `Update`.
        training: String. Name of the training, as `finetune` passes it to callbacks.
    """
    import keras

    from keras_prelu.sites.prelu_layers import has_prelu_layers

    class TrainingProgress(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            network = "PReLU" if has_prelu_layers(self.model) else "ReLU"
            self._stage = training_name(training, network)
            self._epoch, self._measured = 0, ""
            self._show(0)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            # Reading the loss waits for the device, so it is not read at every step.
            if time.monotonic() - self._shown > _SECONDS_BETWEEN_READINGS:
                self._measured = _measured(logs)
                self._show(batch + 1)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self._measured = _measured(logs)
            self._show(self.params["steps"] or 1)

        def _show(self, batches: int) -> None:
            self._shown = time.monotonic()
            epochs, steps = self.params["epochs"], self.params["steps"] or 1
            done = self._epoch * steps + min(batches, steps)
            epoch = f"epoch {self._epoch + 1}/{epochs}"
            update(done, epochs * steps, f"{epoch}{self._measured}", stage=self._stage)

    return TrainingProgress()


def training_name(training: str, network: str) -> str:
    """Return what a training is called, such as "the ReLU control, run 2".

    Args:
        training: String. Its name in `finetune`, such as "run_1_control".
        network: String. "PReLU" or "ReLU".
    """
    run, name = re.fullmatch(r"(?:run_(\d+)_)?(.*)", training).groups()  # type: ignore[union-attr]
    known = {
        "model": f"the {network} model",
        "model_1": f"the {network} model, second attempt",
        "model_2": f"the {network} model, third attempt",
        "control": "the ReLU control",
        "prepared_control": "the ReLU control, prepared alike",
    }
    text = known.get(name, f"the PReLU control, {name}")
    return f"{text}, run {int(run) + 1}" if run else text


def _measured(logs: Any) -> str:
    """Return the losses and metrics in the logs of a training, validation last."""
    values = {name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"}
    first = ("loss", "accuracy", "val_loss", "val_accuracy")
    names = [name for name in first if name in values]
    others = [name for name in values if name not in first]
    return "".join(f", {name} {values[name]:.4g}" for name in (names + others)[:_SHOWN_METRICS])
