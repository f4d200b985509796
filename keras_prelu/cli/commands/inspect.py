"""`keras-prelu inspect`: the ReLUs of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from keras_prelu.cli.session import Session, session_options

__all__ = ["command"]


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@session_options
def command(model: Path, session: Session) -> None:
    """List the ReLUs of MODEL (a .keras or .h5 file), and which of them can be converted.

    \b
    Example:
      keras-prelu inspect model.keras
    """
    from keras_prelu.cli.console import print_json, print_table
    from keras_prelu.io.model_files import load_model
    from keras_prelu.sites.finder import find_sites

    sites = find_sites(load_model(model, allow_unsafe=session.allow_unsafe))
    if session.json:
        print_json({"model": model, "sites": sites})
        return
    converted = [site for site in sites if site.convertible and not site.on_request]
    on_request = [site for site in sites if site.on_request]
    print_table(
        f"{model}: {len(sites)} site{'' if len(sites) == 1 else 's'}, {len(converted)} to convert"
        + (f", {len(on_request)} on request" if on_request else ""),
        ["path", "layer", "kind", "channels", "slope", "cap", "converted"],
        [_row(site) for site in sites],
        right=["channels", "slope", "cap"],
    )
    if converted:
        slopes = sum(site.channels or 0 for site in converted)
        click.echo(
            f"Converted channel-wise, the model gets {slopes:,} slopes. Next: keras-prelu convert"
            f" {model} --data DATA"
        )
    elif on_request:
        click.echo(
            f"Nothing is converted unless you ask for it. Next: keras-prelu convert {model}"
            " --include '*' --data DATA"
        )
    else:
        click.echo("There is nothing to convert." if sites else "There is no ReLU in it.")


def _row(site: Any) -> list[str]:
    slope = (
        "learned"
        if site.negative_slope is None
        else "–"
        if site.on_request
        else f"{site.negative_slope:g}"
    )
    cap = "–" if site.max_value is None else f"{site.max_value:g}"
    channels = "–" if site.channels is None else str(site.channels)
    converted = (
        site.reason if site.on_request else "yes" if site.convertible else f"no: {site.reason}"
    )
    return [site.path, site.layer, site.kind, channels, slope, cap, converted]
