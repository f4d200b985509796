"""The options of a conversion, shared by `convert` and `finetune`, and converting with what is measured printed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.session import Session

__all__ = ["PARAMETERIZATIONS", "RESCALES", "ConversionOptions", "calibrate_with", "conversion_options", "convert_with", "load_data"]

# Repeated from the package, which can't be asked without importing Keras; a test compares them.
PARAMETERIZATIONS = ("exp", "square", "softplus", "sigmoid", "identity")
RESCALES = ("auto", "none", "analytic", "moments", "calibrated")
_SHARED_AXES = {"channel_wise": "channel_wise", "channel_shared": "channel_shared", "none": None}


@dataclass(frozen=True)
class ConversionOptions:
    """The options as given."""

    alpha: float
    parameterization: str
    shared_axes: str
    rescale: str
    samples: int
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    keep_slopes: bool
    train_frozen_slopes: bool


def conversion_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a conversion to a command, which is called with `conversion=`."""

    @click.option("--alpha", type=float, default=0.25, show_default=True, help="Initial negative slope.")
    @click.option("--parameterization", type=click.Choice(PARAMETERIZATIONS), default="exp", show_default=True, help="The slopes' map.")
    @click.option(
        "--shared-axes", type=click.Choice(tuple(_SHARED_AXES)), default="channel_wise", show_default=True, help="Who shares a slope."
    )
    @click.option(
        "--rescale",
        type=click.Choice(RESCALES),
        default="auto",
        show_default=True,
        help="What keeps the model working; auto is calibrated with --data, else moments and small slopes.",
    )
    @click.option("--samples", type=click.IntRange(min=5), default=512, show_default=True, help="How many samples to calibrate with.")
    @click.option("--include", multiple=True, metavar="GLOB", help="Convert only these sites (may be repeated).")
    @click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these sites as they are (may be repeated).")
    @click.option(
        "--keep-slopes/--overwrite-slopes", default=True, show_default=True, help="Whether LeakyReLU and PReLU keep their slopes."
    )
    @click.option("--train-frozen-slopes", is_flag=True, help="Let new slopes in frozen parts learn.")
    @functools.wraps(function)
    def command(
        *args: Any,
        alpha: float,
        parameterization: str,
        shared_axes: str,
        rescale: str,
        samples: int,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        keep_slopes: bool,
        train_frozen_slopes: bool,
        **kwargs: Any,
    ) -> None:
        options = ConversionOptions(
            alpha, parameterization, shared_axes, rescale, samples, include, exclude, keep_slopes, train_frozen_slopes
        )
        function(*args, conversion=options, **kwargs)

    return command


def convert_with(original: Any, options: ConversionOptions, session: Session, samples: Any) -> tuple[Any, Any]:
    """The converted model, and the `Calibration` or None."""
    from keras_prelu.surgery.convert import convert

    rescale = options.rescale
    if rescale == "calibrated" and samples is None:
        raise click.UsageError("--rescale calibrated needs --data.")
    calibrates = samples is not None and rescale in ("auto", "calibrated")
    converted = convert(
        original,
        alpha=options.alpha,
        parameterization=options.parameterization,
        shared_axes=_SHARED_AXES[options.shared_axes],
        rescale="none" if calibrates else rescale,
        include=options.include or None,
        exclude=options.exclude or None,
        keep_slopes=options.keep_slopes,
        train_frozen_slopes=options.train_frozen_slopes,
    )
    if not calibrates:
        return converted, None
    return converted, calibrate_with(converted, original, samples, options.samples, session)


def calibrate_with(converted: Any, original: Any, samples: Any, limit: int, session: Session, *, refit_frozen: bool = False) -> Any:
    """The `Calibration` of a converted model on some of the samples, under a progress bar."""
    import numpy as np

    from keras_prelu.cli.output import progress
    from keras_prelu.data.samples import Samples
    from keras_prelu.surgery.calibrate import calibrate

    chosen = np.random.default_rng(session.seed).permutation(len(samples))[:limit]
    with progress("Calibrating") as update:
        return calibrate(converted, original, Samples(samples.take(chosen).x), seed=session.seed, refit_frozen=refit_frozen, on_step=update)


def load_data(source: str, model: Any) -> Any:
    """The data set, shaped for the model where it comes in several shapes."""
    from keras_prelu.data.sources import load

    shape = model.inputs[0].shape[1:] if len(model.inputs) == 1 else None
    return load(source, input_shape=shape)
