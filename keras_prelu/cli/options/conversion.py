"""The options of a conversion."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import click

from keras_prelu.cli.options.groups import is_given, option, option_group
from keras_prelu.cli.options.numbers import POSITIVE
from keras_prelu.cli.options.parameter_types import Slope

__all__ = [
    "BESIDES_SITES",
    "PARAMETERIZATIONS",
    "PROFILES",
    "RESCALES",
    "ConversionOptions",
    "conversion_options",
    "given_conversion_option",
    "prelu_options",
    "refuse_conversion_options",
]

# The names repeat those of the package, since importing them would import Keras for --help. A test
# compares them with the package.
PARAMETERIZATIONS = ("exp", "square", "softplus", "sigmoid", "identity", "positive")
RESCALES = ("auto", "none", "analytic", "moments", "calibrated", "distilled")
TARGETS = ("prelu", "relu", "leaky_relu")
ACTIVATIONS = ("relu", "smooth")
PROFILES = ("deployment",)
SHARED_AXES = ("channel_wise", "channel_shared", "none")


@dataclass(frozen=True)
class ConversionOptions:
    """The options of a conversion, named like the arguments of `keras_prelu.convert`.

    Attributes:
        to: String. One of `TARGETS`.
        alpha: Float, "auto" or None. Initial slope of the new PReLU layers.
        tolerance: Float or None. Error that "auto" may leave.
        parameterization: String or None. The map from raw parameters to slopes.
        shared_axes: String. One of `SHARED_AXES`.
        rescale: String. One of `RESCALES`.
        distill: Float or None. Epochs of a distillation after the calibration.
        activations: String. One of `ACTIVATIONS`.
        include: Tuple of strings. Patterns of the sites to convert; empty for all.
        exclude: Tuple of strings. Patterns of the sites to leave alone.
        keep_slopes: Boolean. Whether LeakyReLU and PReLU layers keep their slopes.
        train_frozen_slopes: Boolean. Whether new slopes in frozen layers are trainable.
        verify: Boolean. Whether the predictions of both models are compared.
        profile: String or None. One of `PROFILES`.
    """

    to: str = option(
        type=click.Choice(TARGETS),
        default="prelu",
        help="What to convert to; relu and leaky_relu replace the PReLU layers of MODEL by stock"
        " layers, for hardware without PReLU.",
    )
    alpha: float | str | None = option(
        type=Slope(),
        help="Initial negative slope; auto: per layer, the largest that calibration compensates."
        "  [default: 0, which is exact; 0.25 with --data or --rescale]",
    )
    tolerance: float | None = option(
        type=POSITIVE,
        help="Relative output error that --alpha auto may leave.  [default: 0.001]",
    )
    parameterization: str | None = option(
        type=click.Choice(PARAMETERIZATIONS),
        help="Map from the raw parameters to the slopes; positive: identity with slopes of at least"
        " 0.001, where they start.  [default: identity for slopes of 0, exp for positive ones]",
    )
    shared_axes: str = option(
        type=click.Choice(SHARED_AXES),
        default="channel_wise",
        help="Axes that share one slope.",
    )
    rescale: str = option(
        type=click.Choice(RESCALES),
        default="auto",
        help="How the model's function is preserved at other slopes; auto: calibrated, which needs"
        " --data. With the others, --data measures the error.",
    )
    distill: float | None = option(
        type=POSITIVE,
        metavar="EPOCHS",
        help="After the calibration, train the layers on what MODEL computes for the samples; as"
        " --rescale distilled, which takes 8 epochs.",
    )
    activations: str = option(
        type=click.Choice(ACTIVATIONS),
        default="relu",
        help="What to convert: ReLU and its leaky relatives, or the smooth ones (swish, hard-swish,"
        " GELU, ELU, …), whose slopes are fitted to --data.",
    )
    include: tuple[str, ...] = option(
        multiple=True,
        metavar="GLOB",
        help="Convert only the sites that match. Can be repeated.",
    )
    exclude: tuple[str, ...] = option(
        multiple=True,
        metavar="GLOB",
        help="Leave the sites that match as they are. Can be repeated.",
    )
    keep_slopes: bool = option(
        "--keep-slopes/--overwrite-slopes",
        default=True,
        help="Whether LeakyReLU and PReLU layers keep their slopes or get --alpha.",
    )
    train_frozen_slopes: bool = option(
        is_flag=True,
        help="Make new slopes in frozen layers trainable.",
    )
    verify: bool = option(
        "--verify/--no-verify",
        default=True,
        help="Whether to compare the predictions of the new model with the old one's.",
    )
    profile: str | None = option(
        type=click.Choice(PROFILES),
        help="deployment: what costs least where it runs. One slope a layer, from 0.001 to 1, and"
        " no caps where they cut off next to nothing of --data.",
    )

    def calibrates(self, *, has_data: bool) -> bool:
        """Return whether a conversion with these options calibrates the model."""
        return has_data and self.rescale in ("auto", "calibrated", "distilled")

    @property
    def method(self) -> str:
        """How the model's function is preserved: one of `RESCALES`."""
        return self.rescale if self.distill is None else "distilled"

    def check(self, *, has_data: bool) -> None:
        """Raise a usage error for options that contradict each other."""
        if self.to != "prelu":
            given = given_conversion_option(_OF_PRELU)
            if given is not None:
                raise click.UsageError(
                    f"{given} is for PReLU layers. Leave it out with --to {self.to}."
                )
        calibrates = self.calibrates(has_data=has_data)
        if self.rescale in ("calibrated", "distilled") and not has_data:
            raise click.UsageError(f"--rescale {self.rescale} needs --data.")
        if self.distill is not None and not calibrates:
            raise click.UsageError(
                "--distill needs --data, and --rescale distilled, calibrated or auto."
            )
        if self.activations != "relu" and self.include:
            raise click.UsageError(
                "--activations and --include exclude each other: --include converts what it names,"
                " smooth or not."
            )
        if self.alpha == "auto" and not calibrates:
            raise click.UsageError(
                "--alpha auto needs --data, and --rescale calibrated, distilled or auto."
            )
        if self.tolerance is not None and self.alpha != "auto":
            raise click.UsageError("--tolerance is for --alpha auto.")


_OF_PRELU = (
    "alpha",
    "tolerance",
    "parameterization",
    "shared_axes",
    "activations",
    "keep_slopes",
    "train_frozen_slopes",
    "profile",
)
"""Fields that are of use for PReLU layers only."""

BESIDES_SITES = tuple(
    field.name
    for field in dataclasses.fields(ConversionOptions)
    if field.name not in ("include", "exclude")
)
"""Fields other than the choice of sites, which recipes of a fine-tuning leave to the user."""

conversion_options = option_group("conversion", ConversionOptions)

prelu_options = option_group(
    "conversion",
    ConversionOptions,
    only=[field.name for field in dataclasses.fields(ConversionOptions) if field.name != "to"],
)
"""The options of commands that convert to PReLU."""


def given_conversion_option(among: Collection[str] | None = None) -> str | None:
    """Return the first option of the conversion on the command line, or None without any.

    Args:
        among: Collection of strings or None. Names of the fields to look for. Defaults to None,
            all.
    """
    context = click.get_current_context()
    names = among or {field.name for field in dataclasses.fields(ConversionOptions)}
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in names and is_given(context, name):
            return parameter.opts[0]
    return None


def refuse_conversion_options(reason: str, among: Collection[str] | None = None) -> None:
    """Raise a usage error if the command line has an option of the conversion.

    Args:
        reason: String. Why the command does not convert.
        among: Collection of strings or None. As in `given_conversion_option`.
    """
    given = given_conversion_option(among)
    if given is not None:
        raise click.UsageError(f"{given} is not used: {reason}. Leave it out.")
