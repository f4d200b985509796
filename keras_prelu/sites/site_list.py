"""The sites of a model as a list that shows itself."""

from __future__ import annotations

from typing import Any

from keras_prelu.display.figures import sites_figure
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table
from keras_prelu.sites.site import Site

__all__ = ["Sites"]


class Sites(list[Site], Shown):
    """A list of `Site`, which notebooks show as a table."""

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the sites."""
        by_default = sum(site.convertible and not site.on_request for site in self)
        on_request = sum(site.on_request for site in self)
        title = f"{len(self)} site{'' if len(self) == 1 else 's'}, {by_default} to convert"
        if on_request:
            title += f", {on_request} on request"
        table = Table(
            title=title,
            columns=["path", "layer", "kind", "channels", "slope", "cap", "converted"],
            rows=[
                [
                    site.path,
                    _layer_text(site),
                    site.kind,
                    "–" if site.channels is None else site.channels,
                    _slope_text(site),
                    "–" if site.max_value is None else f"{site.max_value:g}",
                    _conversion_text(site),
                ]
                for site in self
            ],
            right=["channels", "slope", "cap"],
            worst=[2.0 * (not site.convertible) + site.on_request for site in self],
        )
        return (table,)

    def plot(self) -> Any:
        """Return a matplotlib figure of the channels of each site, and whether it is converted."""
        return sites_figure(self)


def _layer_text(site: Site) -> str:
    """Return the class of the layer, and where its code is if it calls the rectifier."""
    if not site.source:
        return str(site.layer)
    place, _, rest = site.source.partition(" in ")
    _, _, repetition = rest.partition(" (")
    return f"{site.layer}, {place}" + (f", {repetition.removesuffix(')')}" if repetition else "")


def _slope_text(site: Site) -> str:
    if site.negative_slope is None:
        return "learned"
    return "–" if site.is_smooth else f"{site.negative_slope:g}"


def _conversion_text(site: Site) -> str:
    if site.on_request:
        return str(site.reason)
    return "yes" if site.convertible else f"no: {site.reason}"
