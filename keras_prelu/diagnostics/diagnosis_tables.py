"""The tables of a diagnosis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras_prelu.display.tables import Table, number

__all__ = ["diagnosis_tables"]


def diagnosis_tables(result: Any) -> tuple[Table, ...]:
    """Return the tables of a `Diagnosis`; those of what was not measured are left out."""
    makers = (
        (_units, result.units, True),
        (_signal, result.signal, True),
        (_normalizations, result.normalizations, False),
        (_ranks, result.ranks, False),
        (_norms, result.norms, False),
    )
    tables = [make(records) for make, records, always in makers if records or always]
    sites = f"{len(result.units)} site{'' if len(result.units) == 1 else 's'}"
    title = f"units at {sites} on {result.samples} samples"
    return (_titled(tables[0], title), *tables[1:])


def _titled(table: Table, title: str) -> Table:
    return Table(**{**vars(table), "title": title})


def _units(units: Sequence[Any]) -> Table:
    return Table(
        title="",
        columns=["path", "units", "dead", "nearly dead", "negative", "one-sided"],
        rows=[_units_row(site) for site in units],
        right=["units", "dead", "nearly dead", "negative", "one-sided"],
        worst=[site.dead / site.units if site.seen and site.units else None for site in units],
    )


def _units_row(site: Any) -> list[Any]:
    if not site.seen:
        return [site.path, "not seen", "–", "–", "–", "–"]
    return [
        site.path,
        site.units,
        site.dead,
        site.nearly_dead,
        f"{100 * site.negative:.1f} %",
        "–" if site.one_sided is None else site.one_sided,
    ]


def _signal(signal: Sequence[Any]) -> Table:
    return Table(
        title="Signal by depth",
        columns=["path", "kind", "second moment", "gain", "predicted", "gradient"],
        rows=[
            [
                layer.path,
                layer.kind,
                number(layer.moment, 3),
                number(layer.gain, 3),
                number(layer.predicted, 3),
                number(layer.gradient, 3),
            ]
            for layer in signal
        ],
        right=["second moment", "gain", "predicted", "gradient"],
        worst=[_logarithmic_size(layer.gain) for layer in signal],
    )


def _logarithmic_size(ratio: float | None) -> float | None:
    """Return how far a ratio is from 1, whichever way."""
    return None if ratio is None or not ratio > 0 else abs(math.log(ratio))


def _normalizations(normalizations: Sequence[Any]) -> Table:
    return Table(
        title="BatchNormalization after a rectifier, means over the channels",
        columns=["path", "gamma", "gamma that keeps the outputs", "gamma that reconstructs"],
        rows=[
            [
                layer.path,
                number(float(layer.gamma.mean()), 3),
                number(float(layer.identity.mean()), 3),
                number(float(layer.reconstruction.mean()), 3),
            ]
            for layer in normalizations
        ],
        right=["gamma", "gamma that keeps the outputs", "gamma that reconstructs"],
        worst=[float(abs(layer.gamma - layer.identity).mean()) for layer in normalizations],
    )


def _ranks(ranks: Sequence[Any]) -> Table:
    return Table(
        title="Ranks of what rectifiers put out",
        columns=["path", "channels", "effective rank", "stable rank"],
        rows=[
            [site.path, site.channels, number(site.effective, 3), number(site.stable, 3)]
            for site in ranks
        ],
        right=["channels", "effective rank", "stable rank"],
        worst=[-site.effective / site.channels for site in ranks],
    )


def _norms(norms: Sequence[Any]) -> Table:
    return Table(
        title="Weights of linear layers",
        columns=["path", "norm", "at initialization"],
        rows=[[layer.path, number(layer.norm, 3), number(layer.initial, 3)] for layer in norms],
        right=["norm", "at initialization"],
        worst=[layer.growth for layer in norms],
    )
