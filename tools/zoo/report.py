"""The table of trials, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

import keras

from tools.zoo.trial import Trial

_HEADER = """\
# Which models convert

Written by `python -m tools.zoo` ({versions}). Each network, with random weights, is converted at slope 0 and compared with the original
bit for bit; converted at slope 0.25, saved, loaded and compared bit for bit. Seconds are for finding the sites and converting.

| collection | model | sites | converted | exact | reloads | seconds | left alone |
|---|---|---:|---:|---|---|---:|---|
"""


def markdown(trials: Sequence[Trial]) -> str:
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("keras", "keras-hub", keras.backend.backend())
    )
    return _HEADER.format(versions=versions) + "".join(
        f"| {' | '.join(_row(trial))} |\n" for trial in trials
    )


def _row(trial: Trial) -> list[str]:
    if trial.failure:
        return [trial.collection, trial.model, "–", "–", "–", "–", "–", f"**{trial.failure}**"]
    left = "; ".join(f"{count} × {reason}" for reason, count in trial.left_alone) or (
        "no ReLU" if not trial.converted else ""
    )
    return [
        trial.collection,
        trial.model,
        str(trial.sites),
        str(trial.converted),
        _word(trial.exact),
        (
            "as the original: not"
            if trial.reloaded is False and trial.original_reloaded is False
            else _word(trial.reloaded)
        ),
        f"{trial.seconds:.1f}",
        left,
    ]


def _word(value: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "–"}[value]
