"""The record that an export returns."""

from __future__ import annotations

from dataclasses import dataclass

from keras_prelu.deployment.benchmark import Cost

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """A written file, and how its outputs in its runtime compare with the model's.

    Attributes:
        path: String. The file, or the folder of a SavedModel.
        format: String. "keras", "saved_model", "tflite", "onnx", "openvino", "torch" or
            "executorch".
        quantize: String or None. "float16", "dynamic", "int8", "int16x8", or None for
            float32.
        bytes: Integer. The size of the file or folder.
        operations: Dict of integers. How often each kind of operation (of layer, for a Keras file)
            is in the file; empty for a SavedModel.
        runtime: String. The name and version of the runtime that ran the file.
        samples: Integer. The number of samples that the file was run on.
        random: Boolean. Whether the samples were random, because none were given.
        difference: Float. The largest difference from the model's outputs, relative to the largest
            output.
        error: Float. The mean squared difference from the model's outputs over their variance.
        tolerance: Float. The limit on `difference`.
        accuracy: Float or None. Percent of the labelled samples for which the file's output is that
            of the right class; None without labels of a classifier.
        accuracy_of_model: Float or None. The accuracy of the model on the same samples.
        pruning_error: Float or None. The mean squared change of the outputs by `prune` over their
            variance; None if nothing was to be pruned. `difference` and `error` then compare with
            the pruned model.
        cost: `Cost` or None. Time and size compared with the same network with ReLUs; None if they
            were not measured.
        accuracy_samples: Integer or None. The number of samples that the accuracies are of.
    """

    path: str
    format: str
    quantize: str | None
    bytes: int
    operations: dict[str, int]
    runtime: str
    samples: int
    random: bool
    difference: float
    error: float
    tolerance: float
    accuracy: float | None
    accuracy_of_model: float | None
    pruning_error: float | None
    cost: Cost | None
    accuracy_samples: int | None = None
