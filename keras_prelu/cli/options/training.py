"""The options of a fine-tuning.

A field of `TrainingOptions` is an option of `finetune`. `convert` has --epochs of them
(`epochs_option`), and `demo` its own.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import click

from keras_prelu.cli.options.groups import Decorator, is_given, option, option_group
from keras_prelu.cli.options.numbers import COUNT, NOT_NEGATIVE, POSITIVE
from keras_prelu.cli.options.parameter_types import NamedPath, Times
from keras_prelu.utils.suggestions import did_you_mean

__all__ = [
    "CONTROLS",
    "PRECISIONS",
    "RECIPES",
    "REPLACED_RECIPES",
    "SCHEDULES",
    "TRACKERS",
    "TrainingOptions",
    "epochs_option",
    "training_options",
]

# The names repeat those of the package, since importing them would import Keras for --help. A test
# compares them with the package.
RECIPES = (
    "auto",
    "relu",
    "identity-revived",
    "identity",
    "reset-identity",
    "shrink-identity",
    "relu-revived",
    "relu-reset",
    "exp-decay",
    "leaky-revived",
    "exp",
    "exp-revived",
    "shrink-perturb",
)
REPLACED_RECIPES = {
    "exp-fast": "exp-decay",
    "exp-fast-revived": "identity-revived",
    "exp-half": "exp-decay",
}
CONTROLS = ("fixed-slopes", "from-scratch")
SCHEDULES = ("constant", "cosine", "linear", "warmup-cosine")
PRECISIONS = ("bfloat16", "float16")
TRACKERS = ("wandb", "mlflow")

_FOLDER = NamedPath(path_type=Path, file_okay=False)


class _RecipeName(click.Choice):  # type: ignore[type-arg] # No generic before click 8.2.
    """The name of a recipe. For that of an earlier version the error says what takes its place."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in REPLACED_RECIPES:
            self.fail(
                f"{value!r} was removed: {REPLACED_RECIPES[value]!r} takes its place.", param, ctx
            )
        if value not in RECIPES:
            self.fail(
                f"There is no recipe {value!r}.{did_you_mean(value, RECIPES)} Recipes:"
                f" {', '.join(RECIPES)}.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


def _check_tensorboardx(
    context: click.Context, parameter: click.Parameter, folder: Path | None
) -> Path | None:
    """Refuse --log-dir without tensorboardX before anything is trained."""
    if folder is not None and importlib.util.find_spec("tensorboardX") is None:
        raise click.UsageError(
            "--log-dir needs tensorboardX: pip install 'keras-prelu[tensorboard]'."
        )
    return folder


def _check_tracker(
    context: click.Context, parameter: click.Parameter, tracker: str | None
) -> str | None:
    """Refuse --tracker without its package before anything is trained."""
    if tracker is not None and importlib.util.find_spec(tracker) is None:
        raise click.UsageError(
            f"--tracker {tracker} needs its package: pip install 'keras-prelu[{tracker}]'."
        )
    return tracker


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a fine-tuning, named like the arguments of `keras_prelu.finetune`.

    Attributes:
        epochs: Integer. Passes over the training samples.
        batch_size: Integer. Samples per training step.
        optimizer: String or None. Name and settings of a Keras optimizer, or "module:name".
        learning_rate: Float or None. Initial learning rate.
        schedule: String or None. One of `SCHEDULES`, or "module:function".
        patience: Integer or None. Epochs without improvement after which training stops.
        slope_multiplier: Float or None. Learning rate of the slopes relative to the weights.
        slope_frozen_epochs: Float. Epochs at the start during which slopes are frozen.
        slope_warmup_epochs: Float. Epochs during which the slopes' learning rate then rises.
        slope_clipnorm: Float or None. Largest norm of the gradient of a layer's slopes.
        loss: String or None. Name of a Keras loss, or "module:function".
        metrics: Tuple of strings. Names of Keras metrics, or "module:name".
        class_weight: String or None. "balanced", or weights such as "0=1,1=5".
        augment: String or None. Layer or function, as "module:name".
        mixed_precision: String or None. One of `PRECISIONS`.
        control: Boolean. Whether to train the ReLU control.
        controls: Tuple of strings. Further controls, from `CONTROLS`.
        recipe: String or None. One of `RECIPES`; None for a model that is trained as converted.
        budget: Float. What the search of a recipe may cost, in fine-tunings.
        runs: Integer. Number of fine-tunings.
        checkpoints: Path or None. Folder of the checkpoints.
        save_freq: Integer or None. Steps between checkpoints; None for each epoch alone.
        log_dir: Path or None. Folder of the logs for TensorBoard.
        tracker: String or None. One of `TRACKERS`.
    """

    epochs: int = option(
        type=COUNT,
        default=10,
        help="Passes over the training samples.",
    )
    batch_size: int = option(
        type=COUNT,
        default=32,
        help="Samples per training step.",
    )
    learning_rate: float | None = option(
        type=POSITIVE,
        help="Initial learning rate.  [default: 0.001; with --optimizer that optimizer's]",
    )
    optimizer: str | None = option(
        metavar="NAME[:KEY=VALUE,...]",
        help="Keras optimizer with its settings, such as adamw:weight_decay=1e-4, or module:name of"
        " yours.  [default: adam]",
    )
    schedule: str | None = option(
        metavar="NAME",
        help=f"How the learning rate goes on: {', '.join(SCHEDULES)}, or module:function of the"
        " rate and the number of steps.  [default: cosine]",
    )
    patience: int | None = option(
        type=COUNT,
        help="Epochs without a lower loss on held-back samples after which a training is stopped."
        "  [default: all epochs are trained]",
    )
    slope_multiplier: float | None = option(
        type=POSITIVE,
        help="Learning rate of the slopes relative to that of the weights.  [default: chosen"
        " by optimizer and network]",
    )
    slope_frozen_epochs: float = option(
        type=NOT_NEGATIVE,
        default=0.0,
        help="Epochs at the start during which slopes are frozen.",
    )
    slope_warmup_epochs: float = option(
        type=NOT_NEGATIVE,
        default=0.0,
        help="Epochs after these during which the learning rate of the slopes rises to its full"
        " value.",
    )
    slope_clipnorm: float | None = option(
        type=POSITIVE,
        help="Largest norm of the gradient of a layer's slopes.  [default: no clipping]",
    )
    loss: str | None = option(
        help="Keras loss, or module:function.  [default: the one that MODEL is compiled with]",
    )
    metrics: tuple[str, ...] = option(
        "--metric",
        multiple=True,
        metavar="NAME",
        help="Keras metric, or module:name of yours. Can be repeated.  [default: those that MODEL"
        " is compiled with]",
    )
    class_weight: str | None = option(
        metavar="balanced|CLASS=WEIGHT,...",
        help="Weights of the classes in the loss that is trained; balanced: by their counts.",
    )
    augment: str | None = option(
        metavar="MODULE:NAME",
        help="Keras layer or function of yours that is applied to the training batches.",
    )
    mixed_precision: str | None = option(
        type=click.Choice(PRECISIONS),
        help="Compute in half precision, with weights in float32.",
    )
    control: bool = option(
        "--control/--no-control",
        default=True,
        help="Whether to train the ReLU control, which the verdict needs.",
    )
    controls: tuple[str, ...] = option(
        "--also",
        multiple=True,
        type=click.Choice(CONTROLS),
        help="Further control to train: the PReLU model with fixed slopes or from fresh weights."
        " Can be repeated.",
    )
    recipe: str | None = option(
        type=_RecipeName(RECIPES),
        help="How a ReLU model is prepared; auto chooses by short trainings.  [default: auto, or"
        " converted as the options of the conversion say]",
    )
    budget: float = option(
        type=Times(),
        default="3x",
        help="Cost that --recipe auto may have, as a multiple of one fine-tuning; at least 1.5x.",
    )
    runs: int = option(
        type=COUNT,
        default=1,
        help="Fine-tunings with seeds that follow each other; the verdict compares over them.",
    )
    checkpoints: Path | None = option(
        type=_FOLDER,
        help="Folder for checkpoints; after an interruption, the same command resumes from them.",
    )
    save_freq: int | None = option(
        type=COUNT,
        help="Training steps after which --checkpoints are written too, so that an interrupted"
        " epoch is resumed in its middle.  [default: after each epoch alone]",
    )
    log_dir: Path | None = option(
        type=_FOLDER,
        callback=_check_tensorboardx,
        help="Folder for TensorBoard logs (losses, slopes and dead units per epoch) and"
        " slopes.csv.",
    )
    tracker: str | None = option(
        type=click.Choice(TRACKERS),
        callback=_check_tracker,
        help="Log each training as a run of Weights & Biases or MLflow (losses, slopes and dead"
        " units per epoch), where its own settings say, such as WANDB_PROJECT or"
        " MLFLOW_TRACKING_URI.",
    )

    def check(self) -> None:
        """Raise a usage error for an option that the others leave without effect."""
        if is_given(click.get_current_context(), "budget") and self.recipe != "auto":
            raise click.UsageError(
                "--budget is what --recipe auto may cost. Add --recipe auto, or leave it out."
            )
        if self.save_freq is not None and self.checkpoints is None:
            raise click.UsageError(
                "--save-freq is how often --checkpoints are written. Add --checkpoints FOLDER, or"
                " leave it out."
            )


training_options = option_group("training", TrainingOptions)


def epochs_option(purpose: str) -> Decorator:
    """Return a decorator that adds only --epochs to a command.

    The command receives `training=` with the defaults of the other options.
    """
    return option_group("training", TrainingOptions, only=("epochs",), epochs={"help": purpose})
