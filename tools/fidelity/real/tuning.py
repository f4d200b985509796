"""Real networks fine-tuned on their labels, beside the ReLU control."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import keras_prelu as kp
from tools.common.packages import Packages
from tools.fidelity.real.networks import RealNetwork

__all__ = ["Tuned", "tuned"]


@dataclass(frozen=True)
class Tuned:
    """A fine-tuning, judged on samples that it has not seen: the accuracy in percent, or the loss.

    Attributes:
        network: Name.
        recipe: Name of the recipe; "auto" if it was searched for.
        chosen: Name of the recipe that was used.
        seed: Seed of the samples and of the training.
        before: Score of the network that came in.
        control: Score of the ReLU network after the same training.
        after: Score of the network after its training.
        best: "model", "control" or "incoming": which one the verdict says to keep.
        verdict: The verdict.
        seconds: CPU seconds.
    """

    network: str
    recipe: str
    chosen: str
    seed: int
    before: float
    control: float
    after: float
    best: str
    verdict: str
    seconds: float


def tuned(
    network: RealNetwork,
    packages: Packages,
    *,
    recipes: Sequence[str],
    samples: int,
    test: int,
    epochs: int,
    seeds: int,
) -> Iterator[Tuned]:
    """Fine-tune a network with each recipe and each seed on so many of its samples."""
    model, split = network.build(packages), network.data(packages)
    for recipe in recipes:
        for seed in range(seeds):
            rng, start = np.random.default_rng(seed), time.process_time()
            result = kp.finetune(
                model,
                split.train.take(rng.permutation(len(split.train))[:samples]),
                split.test.take(slice(0, test)),
                recipe=recipe,
                epochs=epochs,
                loss=network.loss,
                seed=seed,
            )
            control = result.control or result.prelu
            percent = 100.0 if network.top else 1.0
            yield Tuned(
                network=network.name,
                recipe=recipe,
                chosen=result.recipe,
                seed=seed,
                before=percent * control.score_before,
                control=percent * control.score_after,
                after=percent * result.prelu.score_after,
                best=result.best,
                verdict=result.verdict,
                seconds=time.process_time() - start,
            )
