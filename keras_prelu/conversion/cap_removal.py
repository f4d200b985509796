"""The caps of rectifiers that a conversion removes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from keras_prelu.calibration.samples import CalibrationSamples
from keras_prelu.sites.clipping import clipped_shares
from keras_prelu.sites.site import LocatedSite
from keras_prelu.utils.user_warnings import warn

__all__ = ["Cap", "caps_note", "judge_caps", "judged_caps"]

_NAMED = 3
"""Number of sites that a note names."""


@dataclass(frozen=True)
class Cap:
    """The cap of a converted site.

    Attributes:
        path: String. The path of the site in the original.
        max_value: Float. The cap.
        clipped: Float or None. The share of the outputs that it cuts off, on the calibration
            samples; None if it was not measured.
        removed: Boolean. Whether the converted model has no cap there.
    """

    path: str
    max_value: float
    clipped: float | None
    removed: bool


def judge_caps(
    selected_sites: Sequence[LocatedSite], clipped_shares: Mapping[str, float], largest: float
) -> tuple[Cap, ...]:
    """Return the caps of the selected sites, and which of them are to be removed.

    Args:
        selected_sites: Sequence of `LocatedSite`. The sites that are converted.
        clipped_shares: Dict of floats. As `sites.clipping.clipped_shares` returns it.
        largest: Float. Caps are removed that cut off at most this share.
    """
    caps = []
    for located in selected_sites:
        site = located.site
        if site.max_value is not None:
            clipped = clipped_shares.get(site.path)
            caps.append(
                Cap(
                    path=site.path,
                    max_value=site.max_value,
                    clipped=clipped,
                    removed=clipped is not None and clipped <= largest,
                )
            )
    return tuple(caps)


def caps_note(caps: Sequence[Cap], *, has_samples: bool) -> str:
    """Return a sentence on the caps that stay, or "": those that cut off most are named."""
    kept = [cap for cap in caps if not cap.removed]
    if not kept:
        return ""
    if not has_samples:
        return (
            f"The caps of {len(kept)} sites stay: what they cut off is measured on samples"
            " (calibration_data, --data)."
        )
    worst = sorted(kept, key=lambda cap: -1.0 if cap.clipped is None else -cap.clipped)[:_NAMED]
    named = ", ".join(
        f"'{cap.path}' ({'not seen' if cap.clipped is None else f'{cap.clipped:.1%}'})"
        for cap in worst
    )
    more = ", …" if len(kept) > len(worst) else ""
    return (
        f"The caps of {len(kept)} of {len(caps)} sites stay, since they cut off too much: {named}"
        f"{more}."
    )


def judged_caps(
    model: keras.Model,
    selected_sites: Sequence[LocatedSite],
    samples: CalibrationSamples | None,
    largest_clipped_share: float,
) -> tuple[Cap, ...]:
    """Return the caps of a model, judged as `judge_caps` does, and warn of those that stay.

    Args:
        model: `keras.Model`. The original.
        selected_sites: Sequence of `LocatedSite`. The sites that are converted.
        samples: `CalibrationSamples` or None.
        largest_clipped_share: Float. As in `judge_caps`.
    """
    shares = {} if samples is None else clipped_shares(model, samples.structure, samples.arrays)
    caps = judge_caps(selected_sites, shares, largest_clipped_share)
    note = caps_note(caps, has_samples=samples is not None)
    if note:
        warn(note)
    return caps
