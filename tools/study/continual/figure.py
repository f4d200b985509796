"""The picture of a network that goes on learning, from stored results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from keras_prelu.report.figures import task_errors_figure
from tools.study.continual.measure import Continual
from tools.study.continual.methods import GOING_ON

__all__ = ["SETTING", "picture"]

SETTING = "permuted pixels, MLP, Adam 0.003, 60 tasks"
_NAMES = {
    GOING_ON: "ReLU going on",
    "identity-revived": "converted once (identity-revived)",
    "fresh ReLU": "a fresh ReLU network",
    "fresh, identity": "a fresh network with slopes",
}


def picture(results: Sequence[Continual]) -> Figure:
    """Return the errors on sixty tasks after sixty others, for each seed that all methods have."""
    group = [result for result in results if result.setting == SETTING]
    by_method = {
        method: {result.seed: result.errors for result in group if result.method == method}
        for method in _NAMES
    }
    seeds = sorted(set.intersection(*(set(found) for found in by_method.values())))
    return task_errors_figure(
        {
            name: 100.0 * np.array([by_method[method][seed] for seed in seeds])
            for method, name in _NAMES.items()
        }
    )
