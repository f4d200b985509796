"""Fine-tuning with the options of the command line, under a progress bar."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_prelu.cli.options.conversion import ConversionOptions
from keras_prelu.cli.options.session import SessionOptions
from keras_prelu.cli.options.training import TrainingOptions
from keras_prelu.cli.output import echo
from keras_prelu.cli.progress import Update, progress
from keras_prelu.utils.user_warnings import warn

__all__ = ["finetune_model", "training_name", "trial_progress"]

_MONITORED_SAMPLES = 512
_SECONDS_BETWEEN_READINGS = 0.5
_SHOWN_METRICS = 4


def finetune_model(
    model: Any,
    train: Any,
    validation: Any,
    original: Any,
    options: TrainingOptions,
    session: SessionOptions,
    *,
    sites: ConversionOptions | None = None,
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
        sites: `ConversionOptions` or None. Which sites a recipe converts. Defaults to None, all.
        group: String or None. What a tracker calls the runs of this fine-tuning together.
    """
    import keras

    from keras_prelu.backend.devices import gpu
    from keras_prelu.training.finetune import finetune
    from keras_prelu.training.named_settings import named_settings

    settings = named_settings(asdict(options))
    # For a converted model, "auto" trains the model as it is; no recipe means the same here.
    settings["recipe"] = options.recipe or "auto"
    settings["save_freq"] = options.save_freq or "epoch"
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
            include=None if sites is None else sites.include or None,
            exclude=None if sites is None else sites.exclude or None,
            **settings,
        )
    if options.log_dir is not None and not result.slopes_after:
        warn(
            f"Recipe {result.recipe} trains no slopes, so nothing was logged in {options.log_dir}.",
        )
    return result


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
    from keras_prelu.training.search_budget import share_of_steps

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
        def __getstate__(self) -> dict[str, Any]:
            return {}  # Checkpoints store nothing of it: times are of this process.

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
