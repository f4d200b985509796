"""The options of a fine-tuning, shared by `finetune` and `convert --finetune`, and doing it with
what came out printed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.session import Session

__all__ = [
    "CONTROLS",
    "RECIPES",
    "TuningOptions",
    "labelled_data",
    "print_tuning",
    "tune_with",
    "tuning_options",
]

# Repeated from the package, which can't be asked without importing Keras; a test compares them.
RECIPES = (
    "auto",
    "relu",
    "identity",
    "exp",
    "exp-revived",
    "relu-revived",
    "exp-fast",
    "exp-fast-revived",
    "exp-half",
)
CONTROLS = ("fixed-slopes", "from-scratch")


@dataclass(frozen=True)
class TuningOptions:
    """The options as given, named as the arguments of `finetune`, but for `log_dir`."""

    epochs: int
    batch_size: int = 32
    learning_rate: float | None = None
    slope_multiplier: float | None = None
    slope_frozen_epochs: float = 0.0
    slope_warmup_epochs: float = 0.0
    slope_clipnorm: float | None = None
    loss: str | None = None
    control: bool = True
    controls: tuple[str, ...] = ()
    recipe: str | None = None
    budget: float = 3.0
    checkpoints: Path | None = None
    log_dir: Path | None = None


class _Times(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A number of times, with or without an x after it."""

    name = "times"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        times: float = click.FLOAT.convert(str(value).removesuffix("x"), param, ctx)  # type: ignore[arg-type]  # it takes text
        return times


def _needs_tensorboardx(
    context: click.Context, option: click.Parameter, folder: Path | None
) -> Path | None:
    """Refuse --log-dir before anything is trained for it."""
    if folder is not None and importlib.util.find_spec("tensorboardX") is None:
        raise click.UsageError(
            "--log-dir needs tensorboardX: pip install 'keras-prelu[tensorboard]'."
        )
    return folder


def tuning_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a fine-tuning to a command, which is called with `tuning=`."""

    @click.option(
        "--epochs",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        help="Passes over the training samples.",
    )
    @click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Samples in a step.",
    )
    @click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        help="Of Adam, cosine decay.  [default: 0.003]",
    )
    @click.option(
        "--slope-multiplier",
        type=click.FloatRange(min=0, min_open=True),
        help="The slopes' rate over the weights'.  [default: the recipe's, else 1]",
    )
    @click.option(
        "--slope-frozen-epochs",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Epochs at the start in which slopes stay as they are.",
    )
    @click.option(
        "--slope-warmup-epochs",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Epochs after those in which the slopes' rate rises to its full value.",
    )
    @click.option(
        "--slope-clipnorm",
        type=click.FloatRange(min=0, min_open=True),
        help="Largest norm of the gradient of a layer's slopes.  [default: not clipped]",
    )
    @click.option("--loss", help="Keras loss.  [default: the one MODEL is compiled with]")
    @click.option(
        "--control/--no-control",
        default=True,
        show_default=True,
        help="Whether to train the ReLU control for the verdict.",
    )
    @click.option(
        "--also",
        "controls",
        multiple=True,
        type=click.Choice(CONTROLS),
        help=(
            "A further control to train: PReLU whose slopes don't learn, or from fresh weights. Can"
            " be repeated."
        ),
    )
    @click.option(
        "--recipe",
        type=click.Choice(RECIPES),
        help=(
            "How a ReLU model is made ready; auto finds out by short trainings.  [default:"
            " converted as the options say]"
        ),
    )
    @click.option(
        "--budget",
        type=_Times(),
        default="3x",
        show_default=True,
        help="What --recipe auto may spend, in times of one fine-tuning.",
    )
    @click.option(
        "--checkpoints",
        type=click.Path(path_type=Path, file_okay=False),
        help=(
            "Folder that the training's state is kept in; the same command goes on from there after"
            " it was stopped."
        ),
    )
    @click.option(
        "--log-dir",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_needs_tensorboardx,
        help="Folder for TensorBoard: losses, slopes and dead units by epoch, and slopes.csv.",
    )
    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> None:
        options = TuningOptions(
            **{field.name: given.pop(field.name) for field in fields(TuningOptions)}
        )
        function(*args, tuning=options, **given)

    return command


def labelled_data(dataset: Any, session: Session) -> tuple[Any, Any]:
    """Training samples, and those that judge: the data's test samples, or a fifth that is held
    out."""
    from keras_prelu.data.sources import split
    from keras_prelu.errors import DataError

    if dataset.train.y is None:
        raise DataError(
            f"Fine-tuning needs labels, and '{dataset.name}' has none: add an array 'y'."
        )
    return (
        (dataset.train, dataset.test)
        if dataset.test is not None
        else split(dataset.train, 0.2, session.seed)
    )


def tune_with(
    model: Any, original: Any, train: Any, validation: Any, options: TuningOptions, session: Session
) -> Any:
    """The `FineTuning` of a model, under a progress bar."""
    import keras

    from keras_prelu.backend.devices import gpu
    from keras_prelu.cli.console import progress
    from keras_prelu.training.finetune import finetune

    settings = asdict(options)
    monitors = _monitors(settings.pop("log_dir"), train)
    with progress(f"Fine-tuning on {gpu() or 'the CPU'} with {keras.backend.backend()}") as update:
        return finetune(
            model,
            train,
            validation,
            original=None if options.recipe is not None else original,
            callbacks=_epoch_counter(update, monitors),
            seed=session.seed,
            on_trial=update,
            **settings,
        )


def _monitors(log_dir: Path | None, train: Any) -> Any:
    """A factory of the callbacks that follow the slopes of a run."""
    from keras_prelu.callbacks import SlopeMonitor

    if log_dir is None:
        return list
    samples = train.take(range(min(len(train), 512))).x
    return lambda: [SlopeMonitor(log_dir, log_dir / "slopes.csv", samples=samples)]


def _epoch_counter(update: Any, monitors: Any) -> Any:
    """A factory of callbacks that count the epochs of each run, and of the others."""
    import keras

    class Counter(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            update(epoch + 1, self.params["epochs"])

    return lambda: [Counter(), *monitors()]


def print_tuning(result: Any) -> None:
    """What a fine-tuning brought, and the verdict."""
    from keras_prelu.cli.console import dead_of, number, print_table

    if result.trials:
        print_table(
            "Recipes tried, losses on samples held back for the choice",
            ["recipe", "round", "steps", "loss"],
            [
                [trial.recipe, str(trial.round), str(trial.steps), number(trial.loss)]
                for trial in result.trials
            ],
            right=["round", "steps", "loss"],
        )
    controls = [("ReLU control", result.control), ("ReLU control, revived", result.revived_control)]
    controls += [(f"PReLU control, {control.name}", control.trained) for control in result.controls]
    runs = [
        (_name(result), result.prelu),
        *((name, run) for name, run in controls if run is not None and run is not result.prelu),
    ]
    print_table(
        "Fine-tuning, scores on samples that no training saw",
        ["model", "before", "after", "dead units before", "dead units after"],
        [
            [
                name,
                number(run.score_before),
                number(run.score_after),
                dead_of(run.dead_before),
                dead_of(run.dead_after),
            ]
            for name, run in runs
        ],
        right=["before", "after"],
    )
    if result.slopes_after:
        print_table(
            "Slopes",
            ["layer", "count", "mean before", "mean after", "lowest", "highest"],
            [
                [
                    after.path,
                    str(after.count),
                    number(before.mean),
                    number(after.mean),
                    number(after.minimum),
                    number(after.maximum),
                ]
                for before, after in zip(result.slopes_before, result.slopes_after, strict=True)
            ],
            right=["count", "mean before", "mean after", "lowest", "highest"],
        )
    click.echo(result.verdict)


def _name(result: Any) -> str:
    kind = "PReLU" if result.slopes_after else "ReLU"
    return f"{kind}, recipe {result.recipe}" if result.recipe else kind
