"""A converted model and its original, with the facts about both that calibration needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_prelu.calibration.inner_layers import InnerLayer, find_inner_layers
from keras_prelu.calibration.layer_matching import match_layers
from keras_prelu.calibration.samples import CalibrationSamples, with_graph
from keras_prelu.custom_layers.converted_layer import prelus
from keras_prelu.data.declarations import check_model
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.graph.model_state import state_kept
from keras_prelu.graph.plan import ExecutionPlan, Slot, Step, compile_plan
from keras_prelu.layers import PReLU
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.prelu_layers import prelu_layers
from keras_prelu.sites.site import LocatedSite
from keras_prelu.typing import Tensor

__all__ = ["ModelPair", "check_models"]


def check_models(converted: keras.Model, original: keras.Model) -> None:
    """Check that two arguments are a converted model and its original, in this order.

    Args:
        converted: `keras.Model`.
        original: `keras.Model`.

    Raises:
        InvalidArgumentError: A ValueError; one is no Keras model, both are the same, or they are
            exchanged.
    """
    check_model(converted, "converted")
    check_model(original, "original")
    if converted is original:
        raise InvalidArgumentError(
            "`converted` and `original` are the same model. Give the result of convert(original)"
            " and the model that it was made from."
        )
    new, old = (len(list(prelu_layers(model))) for model in (converted, original))
    if new < old:
        raise InvalidArgumentError(
            "`converted` and `original` seem to be exchanged: the model to change comes first, and"
            f" '{converted.name}' has {new} PReLU layers, '{original.name}' {old}."
        )


class ModelPair:
    """A converted model and its original, matched layer by layer.

    Derived data is computed once, so that several calibrations of one pair share it. The weights of
    the converted model may change in the meantime, since none of them is copied. The weights of the
    original must not change, since a pair holds linear copies of layers with an inline activation.

    Args:
        original: `keras.Model`. The ReLU model.
        converted: `keras.Model`. The model that was made from `original`.
        samples: `CalibrationSamples`. A model with Python code of its own is called with them to
            get a graph.
        sites: Sequence of `LocatedSite`, or None. The sites of the original. Defaults to None: they
            are located by this class.

    Attributes:
        original: `keras.Model`. The ReLU model, with a graph.
        converted: `keras.Model`. The converted model, with a graph.
        plan: `ExecutionPlan` of the converted model.

    Raises:
        CalibrationError: The models do not belong together.
    """

    def __init__(
        self,
        original: keras.Model,
        converted: keras.Model,
        samples: CalibrationSamples,
        sites: Sequence[LocatedSite] | None = None,
    ) -> None:
        self.original = with_graph(original, samples.structure)
        self.converted = with_graph(converted, samples.structure)
        self.plan: ExecutionPlan = compile_plan(self.converted)
        self._counterparts = match_layers(
            self.plan, self.original, locate_sites(self.original) if sites is None else sites
        )
        self._inner_layers: dict[str, list[InnerLayer]] = {}

    def counterpart(self, step: Step) -> Any:
        """Return the original's layer, op or activation function for a step of the plan."""
        return self._counterparts[step.path]

    def computes_the_same(self, step: Step) -> bool:
        """Return whether a step computes what the original does for the same inputs.

        It does if it applies no PReLU and its weights are equal.
        """
        counterpart = self.counterpart(step)
        if isinstance(step.operation, PReLU) or len(prelus(step.operation)) != len(
            prelus(counterpart)
        ):
            return False
        pairs = zip(
            getattr(step.operation, "weights", []),
            getattr(counterpart, "weights", []),
            strict=True,
        )
        return all(
            np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
            for a, b in pairs
        )

    def inner_layers(self, step: Step, batch: Mapping[Slot, Tensor]) -> list[InnerLayer]:
        """Return the linear layers inside the layer of a step, in the order of their calls.

        Args:
            step: `Step` of the plan, whose layer has Python code of its own.
            batch: Mapping from `Slot` to tensor. The inputs of the original's layer for one batch.
        """
        if step.path not in self._inner_layers:
            counterpart = self.counterpart(step)
            with state_kept(counterpart):
                self._inner_layers[step.path] = find_inner_layers(
                    step.operation, counterpart, lambda: step.execute(batch, counterpart)
                )
        return self._inner_layers[step.path]
