"""One network converted, saved and loaded, and compared bit for bit."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from tools.common.lifelike import inputs_of, live_in


@dataclass(frozen=True)
class Conversion:
    """What became of one network.

    Attributes:
        collection: "keras.applications" or "KerasHub".
        model: Name of the network.
        sites: Number of rectifiers, including smooth ones.
        converted: Number of rectifiers that became PReLU.
        left_alone: Why others did not, with the number of each.
        exact: Whether the outputs at slope 0 are the original's bit for bit; None where there is
            nothing to convert.
        reloaded: Whether a file of the model converted at slope 0.25 computes the same bit for bit.
        original_reloaded: Whether a file of the original does.
        seconds: Seconds of finding the sites and converting.
        failure: What went wrong, or "".
    """

    collection: str
    model: str
    sites: int = 0
    converted: int = 0
    left_alone: tuple[tuple[str, int], ...] = ()
    exact: bool | None = None
    reloaded: bool | None = None
    original_reloaded: bool | None = None
    seconds: float = 0.0
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was lost: exact, and a file as good as the original's."""
        return (
            not self.failure
            and self.exact is not False
            and (self.reloaded is not False or self.original_reloaded is False)
        )


def attempt(collection: str, name: str, build: Callable[[], keras.Model]) -> Conversion:
    """Convert one network; errors are part of what is returned."""
    try:
        return _attempt(collection, name, live_in(build()))
    except Exception as error:  # The table shows what fails.
        failure = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Conversion(collection=collection, model=name, failure=failure)


def _attempt(collection: str, name: str, model: keras.Model) -> Conversion:
    x = inputs_of(model, count=2, open_size=16)
    start = time.perf_counter()
    sites = kp.find_sites(model)
    convertible = [site for site in sites if _is_tried(site)]
    reasons = Counter(site.reason for site in sites if site not in convertible).most_common()
    common = {"collection": collection, "model": name, "sites": len(sites)}
    if not convertible:
        seconds = time.perf_counter() - start
        return Conversion(**common, left_alone=tuple(reasons), seconds=seconds)
    at_zero = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include=_is_tried
    )
    seconds = time.perf_counter() - start
    sloped = kp.convert(model, rescale="none", include=_is_tried)
    return Conversion(
        **common,
        converted=len(convertible),
        left_alone=tuple(reasons),
        exact=_same(model, at_zero, x),
        reloaded=_reloads(sloped, x),
        original_reloaded=_reloads(model, x),
        seconds=seconds,
    )


def _is_tried(site: kp.Site) -> bool:
    """Return whether a site is converted: by default, or as an output of a backbone, to which
    others add layers."""
    is_output = site.reason.startswith("it is an output of the model")
    return site.convertible and (not site.on_request or is_output)


def _same(first: keras.Model, second: keras.Model, x: object) -> bool:
    """Return whether the outputs of two models are equal bit for bit."""
    one, other = (
        [
            keras.ops.convert_to_numpy(tensor)
            for tensor in keras.tree.flatten(model(x, training=False))
        ]
        for model in (first, second)
    )
    return len(one) == len(other) and all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(one, other, strict=True)
    )


def _reloads(model: keras.Model, x: object) -> bool:
    """Return whether a file of a model computes the same; False where it cannot be loaded, as with
    classes that are not registered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        kp.save_model(model, path)
        try:
            return _same(model, kp.load_model(path), x)
        except kp.errors.FileError:
            return False
