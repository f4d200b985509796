"""`keras-prelu inspect`: list the ReLUs of a model."""

from __future__ import annotations

import dataclasses
import shlex
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


def _print_sites(model: ModelName, sites: Any) -> None:
    from keras_prelu.cli.console import count
    from keras_prelu.cli.tables import print_tables

    name = shlex.quote(str(model))
    by_default = [site for site in sites if site.convertible and not site.on_request]
    on_request = [site for site in sites if site.on_request]
    if not sites:
        echo(f"{model} has no ReLU and none of its relatives, so there is nothing to convert.")
        return
    (table,) = sites.tables()
    print_tables([dataclasses.replace(table, title=f"{model}: {table.title}")])
    if by_default:
        slopes = sum(site.channels or 0 for site in by_default)
        echo(
            f"Converted channel-wise, the model has {count(slopes, 'slope')}. Next: keras-prelu"
            f" convert {name}"
        )
    elif any(not site.is_smooth for site in on_request):
        path = shlex.quote(next(site.path for site in on_request if not site.is_smooth))
        echo(
            "Nothing is converted by default. Name sites whose range may change: keras-prelu"
            f" convert {name} --include {path} --data DATA"
        )
    elif on_request:
        echo(
            f"These sites are converted on request only. Next: keras-prelu convert {name}"
            " --activations smooth --data DATA"
        )
    else:
        echo("There is nothing to convert.")
