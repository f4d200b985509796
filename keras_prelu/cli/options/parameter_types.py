"""Parameter types for values of the command line that Click does not provide."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import click

from keras_prelu.io.model_names import ModelName

__all__ = ["ByteSize", "Factor", "MeasureLimit", "ModelParameter", "NamedPath", "Slope", "Times"]

# Some versions of Click declare ParamType as generic and others do not, and `convert` accepts only
# text in the types of some versions: hence the two kinds of `type: ignore` below.


class NamedPath(click.Path):
    """A path with a name: an empty one, as of a variable that is not set, is the present folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("The name is empty.", param, ctx)
        return super().convert(value, param, ctx)


class Slope(click.ParamType):  # type: ignore[type-arg]
    """A number, or "auto"."""

    name = "slope"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "FLOAT|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        return "auto" if value == "auto" else float(click.FLOAT.convert(value, param, ctx))


class ByteSize(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, such as "500MB", with decimal units."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"'{value}' is not a size such as 500MB or 4GB.", param, ctx)
        return float(match[1]) * 1000.0 ** " kmgt".index(match[2].lower() or " ")


class Times(click.ParamType):  # type: ignore[type-arg]
    """A multiple, such as "3x" or "3"."""

    name = "times"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = str(value).removesuffix("x")
        times: float = click.FLOAT.convert(number, param, ctx)  # type: ignore[arg-type]
        return times


class Factor(click.ParamType):  # type: ignore[type-arg]
    """A number other than 0, such as "0.5" or "1/255"."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        numerator, slash, denominator = str(value).partition("/")
        try:
            factor = float(numerator) / (float(denominator) if slash else 1.0)
        except (ValueError, ZeroDivisionError):
            factor = math.nan
        if not math.isfinite(factor) or not factor:
            self.fail(f"'{value}' is not a factor such as 0.5 or 1/255.", param, ctx)
        return factor


class MeasureLimit(click.ParamType):  # type: ignore[type-arg]
    """The name of a measure and the largest value that is accepted, such as "dead=0.2"."""

    name = "MEASURE=NUMBER"

    def __init__(self, measures: Sequence[str]) -> None:
        self._measures = measures

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        name, _, number = str(value).partition("=")
        if name not in self._measures:
            self.fail(
                f"'{value}' is not of the form MEASURE=NUMBER. Measures:"
                f" {', '.join(self._measures)}.",
                param,
                ctx,
            )
        limit: float = click.FLOAT.convert(number, param, ctx)  # type: ignore[arg-type]
        return name, limit


class ModelParameter(click.ParamType):  # type: ignore[type-arg]
    """A model, by path or name."""

    name = "model"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ModelName:
        if not value:
            self.fail("The name is empty. Name a file or a published model.", param, ctx)
        return ModelName(value)
