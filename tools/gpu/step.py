"""One training step of ResNet50 with each activation, in turn for its time, in processes of their
own for its memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

import keras_prelu as kp
from keras_prelu.utils.timing import compare
from tools.bench.records import OURS, RELU, STOCK


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        size: Height and width of the images.
        batch: Images in a step.
        policy: Keras dtype policy.
        rounds: Steps of each activation, taken in turn.
    """

    size: int = 224
    batch: int = 128
    policy: str = "mixed_bfloat16"
    rounds: int = 30


@dataclass(frozen=True)
class Step:
    """One activation.

    Attributes:
        activation: ReLU, Keras's PReLU or ours.
        milliseconds: Median of a step.
        ratio, low, high: Median and quartiles over rounds of its time over ReLU's in the same
            round.
        bytes: The most device memory that a process took which ran this alone; None where the
            backend doesn't tell.
    """

    activation: str
    milliseconds: float
    ratio: float
    low: float
    high: float
    bytes: int | None


def steps(setting: Setting) -> list[Step]:
    """All three."""
    memory = {name: _memory_of_a_process(name, setting) for name in (RELU, STOCK, OURS)}
    times = compare(
        {name: training_step(name, setting) for name in memory}, RELU, rounds=setting.rounds
    )
    return [
        Step(name, found.milliseconds, found.median, found.low, found.high, memory[name])
        for name, found in times.items()
    ]


def training_step(activation: str, setting: Setting) -> Callable[[], object]:
    """A function that trains ResNet50 on one batch, and returns when the step is done."""
    keras.config.set_dtype_policy(setting.policy)
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(
        weights=None, input_shape=(setting.size, setting.size, 3), classifier_activation=None
    )
    if activation == OURS:
        model = kp.convert(model, alpha=0.25, rescale="none")
    if activation == STOCK:
        model = keras.models.clone_model(model, clone_function=_with_stock_prelu)
    model.compile(
        keras.optimizers.Adam(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rng = np.random.default_rng(0)
    images = keras.ops.convert_to_tensor(
        rng.normal(size=(setting.batch, setting.size, setting.size, 3)).astype("float32")
    )
    labels = keras.ops.convert_to_tensor(rng.integers(0, 1000, setting.batch))
    return lambda: float(model.train_on_batch(images, labels))


def _with_stock_prelu(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu:
        return keras.layers.PReLU(
            keras.initializers.Constant(0.25), shared_axes=[1, 2], name=layer.name
        )
    return type(layer).from_config(layer.get_config())


def peak_bytes() -> int | None:
    """Device memory at the most since this process began."""
    if keras.backend.backend() == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    import tensorflow as tf

    return (
        tf.config.experimental.get_memory_info("GPU:0")["peak"]
        if tf.config.list_physical_devices("GPU")
        else None
    )


def _memory_of_a_process(activation: str, setting: Setting) -> int | None:
    imports = "import json; from tools.gpu.step import Setting, peak_bytes, training_step"
    code = (
        f"{imports}; run = training_step({activation!r}, {setting!r}); run(); run(); print();"
        " print(json.dumps(peak_bytes()))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{activation} in a process of its own failed:\n{result.stderr[-2000:]}")
    found: int | None = json.loads(result.stdout.splitlines()[-1])
    return found
