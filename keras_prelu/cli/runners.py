"""Conversion and calibration with the options of the command line, under a progress bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from keras_prelu.cli.drawn_samples import random_indices
from keras_prelu.cli.options.calibration import CalibrationOptions
from keras_prelu.cli.options.conversion import ConversionOptions
from keras_prelu.cli.options.session import SessionOptions
from keras_prelu.cli.progress import Update, progress

__all__ = ["calibrate_model", "convert_model"]


def convert_model(
    original: Any,
    samples: Any,
    options: ConversionOptions,
    calibration: CalibrationOptions,
    session: SessionOptions,
) -> Any:
    """Convert a model, calibrate it if the options say so, and return the `Conversion`.

    Args:
        original: `keras.Model`.
        samples: `Samples` or None.
        options: `ConversionOptions`.
        calibration: `CalibrationOptions`.
        session: `SessionOptions`.
    """
    from keras_prelu.conversion.convert import run_conversion

    calibrates = options.calibrates(has_data=samples is not None)
    description = "Calibrating, up to 7 times" if options.alpha == "auto" else "Calibrating"
    has_passes = options.alpha == "auto" or options.method == "distilled"
    with progress(description) if calibrates else nullcontext() as update:
        return run_conversion(
            original,
            calibration_data=samples,
            max_samples=calibration.samples,
            memory_limit=calibration.memory_limit,
            seed=session.seed,
            on_step=_by_pass(update) if update is not None and has_passes else update,
            **_arguments(options),
        )


def _arguments(options: ConversionOptions) -> dict[str, Any]:
    """Return the arguments of `run_conversion`, most of which are named like the options."""
    from keras_prelu.calibration.config import DISTILLATION_EPOCHS
    from keras_prelu.sites import SMOOTH

    arguments = asdict(options)
    is_smooth = arguments.pop("activations") == "smooth"
    distill = arguments.pop("distill")
    return {
        **arguments,
        "shared_axes": None if options.shared_axes == "none" else options.shared_axes,
        "rescale": options.method,
        "distillation_epochs": distill or DISTILLATION_EPOCHS,
        "include": SMOOTH if is_smooth else options.include or None,
        "exclude": options.exclude or None,
    }


def _by_pass(update: Update) -> Callable[[float, float], None]:
    """Return a function of (done, total) that counts the passes that follow each other."""
    number, last = 0, (0.0, 0.0)

    def show(done: float, total: float) -> None:
        nonlocal number, last
        if not number or done < last[0] or total != last[1]:
            number += 1
        last = done, total
        update(done, total, stage=f"pass {number}")

    return show


def calibrate_model(
    converted: Any,
    original: Any,
    samples: Any,
    options: CalibrationOptions,
    session: SessionOptions,
    *,
    refit_frozen: bool = False,
) -> Any:
    """Calibrate a converted model in place, and return the `Calibration`."""
    from keras_prelu.calibration.calibrate import calibrate

    with progress("Calibrating") as update:
        return calibrate(
            converted,
            original,
            _draw_unlabelled(samples, options.samples, session.seed),
            memory_limit=options.memory_limit,
            seed=session.seed,
            refit_frozen=refit_frozen,
            on_step=update,
        )


def _draw_unlabelled(samples: Any, count: int, seed: int) -> Any:
    """Draw at most `count` of the samples, and return them without labels."""
    from keras_prelu.data.samples import Samples

    return Samples(samples.take(random_indices(samples, count, seed)).x)
