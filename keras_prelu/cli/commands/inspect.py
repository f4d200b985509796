"""`keras-prelu inspect`: list the ReLUs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from keras_prelu.cli.options.files import model_argument
from keras_prelu.cli.options.session import SessionOptions, session_options
from keras_prelu.cli.output import echo
from keras_prelu.io.model_names import ModelName

__all__ = ["command"]


@click.command("inspect")
@model_argument
@session_options
def command(model: ModelName, session: SessionOptions) -> None:
    """List the ReLUs of MODEL and which of them can be converted.

    \b
    Examples:
      keras-prelu inspect model.keras
      keras-prelu inspect applications:MobileNetV2
    """
    from keras_prelu.cli.console import print_json
    from keras_prelu.sites.finder import find_sites

    sites = find_sites(session.load_model(model))
    if session.json:
        print_json({"model": model, "sites": sites})
        return
    _print_sites(model, sites)


def _print_sites(model: ModelName, sites: Sequence[Any]) -> None:
    from keras_prelu.cli.console import count
    from keras_prelu.cli.tables import print_table

    by_default = [site for site in sites if site.convertible and not site.on_request]
    on_request = [site for site in sites if site.on_request]
    title = f"{model}: {count(len(sites), 'site')}, {len(by_default)} to convert"
    if on_request:
        title += f", {len(on_request)} on request"
    print_table(
        title,
        ["path", "layer", "kind", "channels", "slope", "cap", "converted"],
        [
            [
                site.path,
                _layer_text(site),
                site.kind,
                "–" if site.channels is None else site.channels,
                _slope_text(site),
                "–" if site.max_value is None else f"{site.max_value:g}",
                _conversion_text(site),
            ]
            for site in sites
        ],
        right=["channels", "slope", "cap"],
        worst=[2.0 * (not site.convertible) + site.on_request for site in sites],
    )
    if by_default:
        slopes = sum(site.channels or 0 for site in by_default)
        echo(
            f"Converted channel-wise, the model has {count(slopes, 'slope')}. Next: keras-prelu"
            f" convert {model} --data DATA"
        )
    elif any(not site.is_smooth for site in on_request):
        echo(
            "Nothing is converted by default. Name sites whose range may change: keras-prelu"
            f" convert {model} --include PATH --data DATA"
        )
    elif on_request:
        echo(
            f"These sites are converted on request only. Next: keras-prelu convert {model}"
            " --activations smooth --data DATA"
        )
    else:
        echo("There is nothing to convert." if sites else "The model has no ReLU.")


def _layer_text(site: Any) -> str:
    """Return the class of the layer, and where its code is if it calls the rectifier."""
    if not site.source:
        return str(site.layer)
    place, _, rest = site.source.partition(" in ")
    _, _, repetition = rest.partition(" (")
    return f"{site.layer}, {place}" + (f", {repetition.removesuffix(')')}" if repetition else "")


def _slope_text(site: Any) -> str:
    if site.negative_slope is None:
        return "learned"
    return "–" if site.is_smooth else f"{site.negative_slope:g}"


def _conversion_text(site: Any) -> str:
    if site.on_request:
        return str(site.reason)
    return "yes" if site.convertible else f"no: {site.reason}"
