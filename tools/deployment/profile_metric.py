"""What `profile="deployment"` costs in the metric of really trained networks: each is converted with
a slope a channel and with the profile, and both are fine-tuned alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.data import Samples
from tools.common.packages import Packages
from tools.common.tasks import CROSSENTROPY, Task, digits, trained
from tools.fidelity.calibration import mean_slope
from tools.fidelity.real import networks as real
from tools.fidelity.real.crepe import pitch_loss

__all__ = [
    "CHANNEL_WISE",
    "CONTROL",
    "EFFORT",
    "FORMS",
    "NETWORKS",
    "PROFILE",
    "TRIAL",
    "TRIAL_NETWORKS",
    "Effort",
    "Form",
    "ProfiledNetwork",
    "TunedForm",
    "tuned_forms",
]

CONTROL, CHANNEL_WISE, PROFILE = "ReLU", "a slope a channel", "profile"
_BATCH = 128


@dataclass(frozen=True)
class Form:
    """A way to convert a network.

    Attributes:
        start: Name of the slopes that it starts with.
        slopes: `CHANNEL_WISE` or `PROFILE`.
        arguments: Arguments of `run_conversion`.
        calibrates: Whether samples are given.
    """

    start: str
    slopes: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    calibrates: bool = True


_PROFILE = {"profile": "deployment"}

FORMS = (
    Form("default", CHANNEL_WISE, calibrates=False),
    Form("default", PROFILE, _PROFILE),
    Form("0.25", CHANNEL_WISE, {"alpha": 0.25}),
    Form("0.25", PROFILE, {"alpha": 0.25, **_PROFILE}),
)
"""Those with the same start are compared. The ReLU control is trained beside the first."""


@dataclass(frozen=True)
class ProfiledNetwork:
    """A network, and how it is fine-tuned.

    Attributes:
        network: The network, its data and its metric.
        seeds: Draws of the samples, and trainings.
        loss: Keras loss, or a function of targets and outputs.
    """

    network: real.RealNetwork
    seeds: int
    loss: Any = CROSSENTROPY


_BY_NAME = {network.name: network for network in real.NETWORKS}

NETWORKS = (
    ProfiledNetwork(_BY_NAME["plain, Fashion-MNIST"], seeds=5),
    ProfiledNetwork(_BY_NAME["ResNet, Fashion-MNIST"], seeds=5),
    ProfiledNetwork(_BY_NAME["CREPE tiny"], seeds=3, loss=pitch_loss),
    ProfiledNetwork(_BY_NAME["EfficientNet-Lite0, emoji"], seeds=3),
)
"""In the order of their cost: a minute a seed for the first, many for the last."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        samples: Number of calibration samples, which are among those to fine-tune on.
        tuned_on: Labelled samples to fine-tune on.
        test: Most samples to judge by.
        epochs: Epochs of the fine-tuning.
        learning_rate: Learning rate of Adam, which decays to 0 along a cosine.
    """

    samples: int = 512
    tuned_on: int = 2_000
    test: int = 10_000
    epochs: int = 2
    learning_rate: float = 3e-4


EFFORT = Effort()


@dataclass(frozen=True)
class TunedForm:
    """A network in one form, before and after its fine-tuning, on samples that neither has seen.

    Attributes:
        network: Name.
        start: As in `Form`; "" for the control.
        slopes: As in `Form`, or `CONTROL`.
        seed: Seed of the samples and of the training.
        metric: Name of what the network is judged by.
        incoming: Its value for the network as it came.
        before: Its value after the conversion.
        error: Mean squared change of the outputs by the conversion, over their variance.
        after: Its value after the fine-tuning.
        slope: Mean of the slopes after the fine-tuning.
        caps: Number of caps that the network had.
        removed: How many of them the conversion removed.
        tested: Number of samples that it is judged by.
    """

    network: str
    start: str
    slopes: str
    seed: int
    metric: str
    incoming: float
    before: float
    error: float
    after: float
    slope: float
    caps: int
    removed: int
    tested: int


def tuned_forms(
    profiled: ProfiledNetwork,
    packages: Packages,
    effort: Effort,
    stored: Collection[tuple[str, str, int]] = (),
) -> Iterator[tuple[TunedForm, ...]]:
    """Yield what came of each form and each seed, except what is stored; the control beside the
    first form.

    Args:
        profiled: `ProfiledNetwork`.
        packages: `Packages`.
        effort: `Effort`.
        stored: Start, slopes and seed of the results that are there.
    """
    network = profiled.network
    model, split = network.build(packages), network.data(packages)
    test = split.test.take(_spread(len(split.test), effort.test))
    judge = _Judge(network, test, _predict(model, test.x))
    for seed in range(profiled.seeds):
        chosen = np.random.default_rng(seed).permutation(len(split.train))[: effort.tuned_on]
        samples = split.train.take(chosen)
        for form in FORMS:
            if (form.start, form.slopes, seed) not in stored:
                yield _tuned(profiled, model, form, samples, judge, effort, seed)


@dataclass(frozen=True)
class _Judge:
    """Judges networks by new samples, beside the network as it came.

    Attributes:
        network: The network.
        samples: New samples.
        incoming: Outputs of the network as it came.
    """

    network: real.RealNetwork
    samples: Samples
    incoming: np.ndarray

    def outputs(self, model: keras.Model) -> np.ndarray:
        return _predict(model, self.samples.x)

    def value(self, outputs: np.ndarray) -> float:
        assert self.network.metric is not None
        return self.network.metric.value(outputs, self.samples.y)

    def error(self, outputs: np.ndarray) -> float:
        return float(kp.diagnostics.relative_error(outputs, self.incoming))


def _tuned(
    profiled: ProfiledNetwork,
    model: keras.Model,
    form: Form,
    samples: Samples,
    judge: _Judge,
    effort: Effort,
    seed: int,
) -> tuple[TunedForm, ...]:
    """Convert a network and fine-tune it, with the ReLU control if the form is the first."""
    calibration = {"calibration_data": samples.x[: effort.samples]} if form.calibrates else {}
    conversion = kp.run_conversion(model, seed=seed, **form.arguments, **calibration)
    with_control = form is FORMS[0]
    tuned = kp.finetune(
        conversion.model,
        samples,
        judge.samples.take(slice(0, _BATCH)),  # its scores are not used
        original=model if with_control else None,
        control=with_control,
        epochs=effort.epochs,
        learning_rate=effort.learning_rate,
        loss=profiled.loss,
        seed=seed,
    )
    outputs = judge.outputs(conversion.model)
    result = TunedForm(
        network=profiled.network.name,
        start=form.start,
        slopes=form.slopes,
        seed=seed,
        metric=judge.network.metric.name,
        incoming=judge.value(judge.incoming),
        before=judge.value(outputs),
        error=judge.error(outputs),
        after=judge.value(judge.outputs(tuned.model)),
        slope=mean_slope(tuned.model),
        caps=len(conversion.caps),
        removed=sum(cap.removed for cap in conversion.caps),
        tested=len(judge.samples),
    )
    if tuned.control is None:
        return (result,)
    control = replace(
        result,
        start="",
        slopes=CONTROL,
        before=result.incoming,
        error=0.0,
        after=judge.value(judge.outputs(tuned.control.model)),
        slope=0.0,
    )
    return control, result


def _spread(count: int, wanted: int) -> np.ndarray:
    """Return so many indices, evenly spread: neighbours are often alike."""
    return np.linspace(0, count - 1, min(wanted, count)).astype(int)


def _predict(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(x, batch_size=_BATCH, verbose=0))


def _capped() -> keras.Model:
    layers = [keras.layers.Conv2D(8, 3, activation="relu6") for _ in range(2)]
    pool, classifier = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)
    return keras.Sequential([keras.Input((8, 8, 1)), *layers, pool, classifier], name="capped")


_DIGITS = Task(name="ReLU6, digits", build=_capped, samples=digits, epochs=8)

TRIAL_NETWORKS = (
    ProfiledNetwork(
        replace(
            real.NETWORKS[0],
            name=_DIGITS.name,
            packages=(),
            build=lambda _packages: trained(_DIGITS, 0),
            data=lambda _packages: digits(),
        ),
        seeds=2,
    ),
)
"""Trained in a second, without packages."""

TRIAL = Effort(samples=64, tuned_on=128, test=200, epochs=1)
