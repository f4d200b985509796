"""The options of a conversion, shared by `convert` and `finetune`, and converting with what is
measured printed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.calibration import CalibrationOptions, calibration_options
from keras_prelu.cli.session import Session

__all__ = [
    "PARAMETERIZATIONS",
    "RESCALES",
    "ConversionOptions",
    "Converted",
    "calibrate_with",
    "conversion_options",
    "convert_with",
    "refuse_conversion_options",
]

# Repeated from the package, which can't be asked without importing Keras; a test compares them.
PARAMETERIZATIONS = ("exp", "square", "softplus", "sigmoid", "identity")
RESCALES = ("auto", "none", "analytic", "moments", "calibrated")
_SHARED_AXES = {"channel_wise": "channel_wise", "channel_shared": "channel_shared", "none": None}


class _Slope(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click alone
    """A number, or "auto"."""

    name = "slope"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "FLOAT|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        return "auto" if value == "auto" else float(click.FLOAT.convert(value, param, ctx))


@dataclass(frozen=True)
class ConversionOptions:
    """The options as given."""

    alpha: float | str
    tolerance: float | None
    parameterization: str
    shared_axes: str
    rescale: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    keep_slopes: bool
    train_frozen_slopes: bool


def conversion_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a conversion to a command, which is called with `conversion=`."""

    @click.option(
        "--alpha",
        type=_Slope(),
        default=0.25,
        show_default=True,
        help=(
            "Initial negative slope; auto: for each layer the largest that calibration can make up"
            " for."
        ),
    )
    @click.option(
        "--tolerance",
        type=click.FloatRange(min=0, min_open=True),
        help=(
            "Loss of function that --alpha auto may leave.  [default: what held-out samples can't"
            " tell from none]"
        ),
    )
    @click.option(
        "--parameterization",
        type=click.Choice(PARAMETERIZATIONS),
        default="exp",
        show_default=True,
        help="The slopes' map.",
    )
    @click.option(
        "--shared-axes",
        type=click.Choice(tuple(_SHARED_AXES)),
        default="channel_wise",
        show_default=True,
        help="Who shares a slope.",
    )
    @click.option(
        "--rescale",
        type=click.Choice(RESCALES),
        default="auto",
        show_default=True,
        help=(
            "What keeps the model working; auto is calibrated with --data, else moments and small"
            " slopes."
        ),
    )
    @calibration_options
    @click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Convert only these sites (may be repeated).",
    )
    @click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave these sites as they are (may be repeated).",
    )
    @click.option(
        "--keep-slopes/--overwrite-slopes",
        default=True,
        show_default=True,
        help="Whether LeakyReLU and PReLU keep their slopes.",
    )
    @click.option(
        "--train-frozen-slopes", is_flag=True, help="Let new slopes in frozen parts learn."
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        alpha: float | str,
        tolerance: float | None,
        parameterization: str,
        shared_axes: str,
        rescale: str,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
        keep_slopes: bool,
        train_frozen_slopes: bool,
        **kwargs: Any,
    ) -> None:
        options = ConversionOptions(
            alpha,
            tolerance,
            parameterization,
            shared_axes,
            rescale,
            include,
            exclude,
            keep_slopes,
            train_frozen_slopes,
        )
        function(*args, conversion=options, **kwargs)

    return command


@dataclass(frozen=True)
class Converted:
    """A converted model and what was measured on the way: the `Calibration`, the `SlopeSearch`, or
    None."""

    model: Any
    calibration: Any = None
    search: Any = None


def convert_with(
    original: Any,
    options: ConversionOptions,
    calibration: CalibrationOptions,
    session: Session,
    samples: Any,
) -> Converted:
    """Convert a model, and with samples calibrate it, as the options say."""
    from keras_prelu.cli.console import progress
    from keras_prelu.conversion.convert import run_conversion

    rescale, searching = options.rescale, options.alpha == "auto"
    calibrates = samples is not None and rescale in ("auto", "calibrated")
    if rescale == "calibrated" and samples is None:
        raise click.UsageError("--rescale calibrated needs --data.")
    if searching and not calibrates:
        raise click.UsageError("--alpha auto needs --data, and --rescale calibrated or auto.")
    if options.tolerance is not None and not searching:
        raise click.UsageError("--tolerance is for --alpha auto.")
    label = "Calibrating, up to 7 times" if searching else "Calibrating"
    with progress(label) if calibrates else nullcontext() as update:
        conversion = run_conversion(
            original,
            alpha=options.alpha,
            tolerance=options.tolerance,
            parameterization=options.parameterization,
            shared_axes=_SHARED_AXES[options.shared_axes],
            rescale=rescale,
            calibration_data=samples if calibrates else None,
            include=options.include or None,
            exclude=options.exclude or None,
            keep_slopes=options.keep_slopes,
            train_frozen_slopes=options.train_frozen_slopes,
            max_samples=calibration.samples,
            memory_limit=calibration.memory_limit,
            seed=session.seed,
            on_step=update,
        )
    return Converted(conversion.model, conversion.calibration, conversion.slope_search)


def calibrate_with(
    converted: Any,
    original: Any,
    samples: Any,
    options: CalibrationOptions,
    session: Session,
    *,
    refit_frozen: bool = False,
) -> Any:
    """The `Calibration` of a converted model on some of the samples, under a progress bar."""
    from keras_prelu.calibration.calibrate import calibrate
    from keras_prelu.cli.console import progress

    with progress("Calibrating") as update:
        return calibrate(
            converted,
            original,
            _chosen(samples, options, session),
            memory_limit=options.memory_limit,
            seed=session.seed,
            refit_frozen=refit_frozen,
            on_step=update,
        )


def _chosen(samples: Any, options: CalibrationOptions, session: Session) -> Any:
    """As many of the samples as are calibrated with, without labels."""
    import numpy as np

    from keras_prelu.data.samples import Samples

    return Samples(
        samples.take(
            np.random.default_rng(session.seed).permutation(len(samples))[: options.samples]
        ).x
    )


def refuse_conversion_options(reason: str) -> None:
    """Raise a usage error if an option of the conversion was given on the command line, where none
    is used."""
    context = click.get_current_context()
    names = {field.name for field in dataclasses.fields(ConversionOptions)}
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names
        and context.get_parameter_source(str(parameter.name))
        is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{given[0]} is not used: {reason}. Leave it out.")
