"""One setting with one seed: the head alone, the control at each rate, and every other method."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from tools.common.packages import Packages
from tools.common.tasks import CROSSENTROPY, Split
from tools.study.transfer.head import with_trained_head
from tools.study.transfer.methods import (
    CONTROLS,
    FIRST_RATE,
    HEAD_ONLY,
    LEADING,
    RATES,
    REVIVED_CONTROL,
    TransferMethod,
    further,
)
from tools.study.transfer.settings import FROZEN, TransferSetting
from tools.study.transfer.tasks import TransferTask

__all__ = ["Transfer", "best_control", "measure_transfer", "next_rate"]

_HELD_OUT = 0.2
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What one method reached on the test samples.

    Attributes:
        setting: Name of the setting.
        seed: Seed of the choice of samples, of the head and of the training.
        method: Name of the method.
        accuracy: Percentage of the test samples.
        held_out_loss: Loss on the held-out samples, at the epoch that was kept; lower is better.
        rate: Learning rate; 0 where no layer but the head learned.
        choice: Recipe that was used.
        multiplier: Ratio of the slopes' learning rate to the weights', or 0.
        diverged: Whether a training diverged and another one took its place.
        seconds: CPU seconds.
    """

    setting: str
    seed: int
    method: str
    accuracy: float
    held_out_loss: float
    rate: float = 0.0
    choice: str = ""
    multiplier: float = 0.0
    diverged: bool = False
    seconds: float = 0.0


def best_control(results: Sequence[Transfer]) -> Transfer | None:
    """Return the control with the lowest loss on held-out samples; None if the search for its rate
    is not at its end.

    Args:
        results: Those of one setting and seed.
    """
    if next_rate(results) is not None:
        return None
    return min(_controls(results).values(), key=lambda control: control.held_out_loss)


def next_rate(results: Sequence[Transfer]) -> float | None:
    """Return the rate at which the control is to be trained next, or None at the end of the search.

    It ends where both neighbours of the best rate are worse, so the best one is never at an edge
    that a higher or lower rate might lie beyond.

    Args:
        results: Those of one setting and seed.
    """
    controls = _controls(results)
    if not controls:
        return FIRST_RATE
    best = RATES.index(min(controls, key=lambda rate: controls[rate].held_out_loss))
    neighbours = RATES[max(0, best - 1) : best + 2]
    return next((rate for rate in reversed(neighbours) if rate not in controls), None)


def _controls(results: Sequence[Transfer]) -> dict[float, Transfer]:
    """Return the controls by their rates."""
    by_name = {result.method: result for result in results}
    return {
        rate: by_name[control.name] for rate, control in CONTROLS.items() if control.name in by_name
    }


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The samples of one seed."""

    train: Samples
    held_out: Samples
    test: Samples


def measure_transfer(
    setting: TransferSetting,
    seed: int,
    packages: Packages,
    stored: Sequence[Transfer],
    *,
    only_leading: bool,
) -> Iterator[Transfer]:
    """Yield the results of all methods that are not measured yet.

    Args:
        setting: The setting.
        seed: Seed of the choice of samples, of the head and of the training.
        packages: Where the network and its data are.
        stored: Results of this setting and seed that are there already.
        only_leading: Whether to measure no more than the methods that come first.
    """
    known = list(stored)
    names = {result.method for result in known}
    if next_rate(known) is None and _has_all(setting, names, only_leading=only_leading):
        return
    data = _data(setting, seed, _loaded(setting.task, packages))
    features = _features(setting.task, packages)
    has_dead_units = any(site.dead for site in kp.diagnostics.dead_units(features, data.train.x))
    start = time.process_time()
    model = with_trained_head(features, data.train, data.held_out, setting.task.classes, seed)
    if HEAD_ONLY not in names:
        yield Transfer(
            setting=setting.name,
            seed=seed,
            method=HEAD_ONLY,
            accuracy=_accuracy(model, data.test),
            held_out_loss=_loss(model, data.held_out),
            seconds=time.process_time() - start,
        )
    if setting.normalization == FROZEN:
        _freeze_normalizations(model)
    while (rate := next_rate(known)) is not None:
        known.append(_tuned(setting, seed, CONTROLS[rate], rate, model, data))
        yield known[-1]
    best = best_control(known)
    assert best is not None
    others = further(normalized=setting.task.normalized, has_dead_units=has_dead_units)
    for method in LEADING if only_leading else others:
        if method.name not in names:
            yield _tuned(setting, seed, method, best.rate, model, data)
            keras.backend.clear_session()


def _has_all(setting: TransferSetting, names: set[str], *, only_leading: bool) -> bool:
    """Return whether no method is left to measure.

    Whether there are dead units shows in whether a revival was measured: it comes before the last
    method, which is measured in any case.
    """
    needed = further(normalized=setting.task.normalized, has_dead_units=REVIVED_CONTROL in names)
    methods = LEADING if only_leading else needed
    return {HEAD_ONLY, *(method.name for method in methods)} <= names


@cache
def _loaded(task: TransferTask, packages: Packages) -> Split:
    return task.samples(packages)


@cache
def _features(task: TransferTask, packages: Packages) -> keras.Model:
    return task.features(packages)


def _data(setting: TransferSetting, seed: int, split: Split) -> _Data:
    """Return samples drawn by the seed; the test samples are always the same."""
    chosen = np.random.default_rng(seed).permutation(len(split.train))[: setting.samples]
    held_out = int(_HELD_OUT * len(chosen))
    return _Data(
        train=split.train.take(chosen[held_out:]),
        held_out=split.train.take(chosen[:held_out]),
        test=split.test.take(slice(0, setting.task.tested)),
    )


def _tuned(
    setting: TransferSetting,
    seed: int,
    method: TransferMethod,
    rate: float,
    model: keras.Model,
    data: _Data,
) -> Transfer:
    """Fine-tune all layers of a clone."""
    start = time.process_time()
    result = kp.finetune(
        model,
        data.train,
        # Test samples are judged below, once; this is what the best epoch is chosen on.
        data.held_out,
        selection=data.held_out,
        recipe=method.recipe,
        fit=kp.FitConfig(
            epochs=setting.epochs,
            batch_size=_BATCH,
            learning_rate=rate,
            loss=CROSSENTROPY,
            seed=seed,
        ),
        slopes=kp.SlopeConfig(multiplier=method.multiplier),
        control=False,
    )
    return Transfer(
        setting=setting.name,
        seed=seed,
        method=method.name,
        accuracy=_accuracy(result.model, data.test),
        held_out_loss=min(result.prelu.history["val_loss"]),
        rate=rate,
        choice=result.recipe,
        multiplier=result.slope_multiplier or 0.0,
        diverged=bool(result.fallbacks),
        seconds=round(time.process_time() - start, 1),
    )


def _freeze_normalizations(model: keras.Model) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _accuracy(model: keras.Model, samples: Samples) -> float:
    outputs = model.predict(samples.x, batch_size=128, verbose=0)
    return 100.0 * float(np.mean(outputs.argmax(-1) == samples.y))


def _loss(model: keras.Model, samples: Samples) -> float:
    outputs = model.predict(samples.x, batch_size=128, verbose=0)
    return float(CROSSENTROPY(np.asarray(samples.y), outputs))
