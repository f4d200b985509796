"""The examples in public docstrings run as written, with the names that they take for granted."""

import doctest
import importlib
import inspect

import keras
import numpy as np
import pytest

import keras_prelu as kp

# These take more than a few seconds.
SLOW = {
    "keras_prelu.diagnostics.gradient_noise.gradient_noise",
    "keras_prelu.report.html.write",
    "keras_prelu.training.config.FitConfig",
    "keras_prelu.training.config.SlopeConfig",
    "keras_prelu.training.finetune.finetune",
    "keras_prelu.training.recipe_trials.try_recipes",
}

MODULES = [
    "keras_prelu.callbacks.plasticity_monitor",
    "keras_prelu.callbacks.revive",
    "keras_prelu.data.sources",
    "keras_prelu.diagnostics.batch_norm",
    "keras_prelu.diagnostics.comparison",
    "keras_prelu.diagnostics.unit_counts",
    "keras_prelu.diagnostics.diagnosis",
    "keras_prelu.diagnostics.embeddings",
    "keras_prelu.diagnostics.gradient_noise",
    "keras_prelu.diagnostics.ranks",
    "keras_prelu.diagnostics.scale_symmetry",
    "keras_prelu.diagnostics.signal",
    "keras_prelu.diagnostics.similarity",
    "keras_prelu.diagnostics.slopes",
    "keras_prelu.io.loading",
    "keras_prelu.io.model_files",
    "keras_prelu.initializers",
    "keras_prelu.layers",
    "keras_prelu.ops",
    "keras_prelu.parameterizations",
    "keras_prelu.regularizers",
    "keras_prelu.calibration.calibrate",
    "keras_prelu.conversion.convert",
    "keras_prelu.conversion.simplify",
    "keras_prelu.report.figures",
    "keras_prelu.report.html",
    "keras_prelu.sites.finder",
    "keras_prelu.theory",
    "keras_prelu.training.config",
    "keras_prelu.training.finetune",
    "keras_prelu.training.recipe_trials",
    "keras_prelu.training.slope_optimizer",
    "keras_prelu.tuning",
]


def documented():
    for name in MODULES:
        module = importlib.import_module(name)
        for public in ["", *module.__all__]:
            item = getattr(module, public) if public else module
            documentation = inspect.getdoc(item)
            if documentation and (not public or inspect.isclass(item) or inspect.isfunction(item)):
                examples = doctest.DocTestParser().get_examples(documentation)
                if examples:
                    path = f"{name}.{public}".rstrip(".")
                    yield pytest.param(
                        [example.source for example in examples],
                        id=path,
                        marks=[pytest.mark.slow] if path in SLOW else [],
                    )


@pytest.fixture(scope="module")
def names():
    """Return the names that the examples take for granted."""
    digits = kp.data.load("digits", input_shape=(64,))
    layers = [keras.Input((64,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    converted = kp.convert(model, rescale="none")
    train, test = digits.train.take(slice(0, 512)), digits.test
    return {
        "keras": keras,
        "keras_prelu": kp,
        "np": np,
        "theory": kp.theory,
        "model": model,
        "converted": converted,
        "tuned": converted,
        "control": model,
        "x_train": train.x,
        "y_train": train.y,
        "x_val": test.x,
        "y_val": test.y,
        "x_test": test.x,
        "y_test": test.y,
    }


@pytest.mark.parametrize("sources", list(documented()))
def test_examples_run(sources, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.Input((64,)), kp.PReLU()]).save("model.prelu.keras")
    namespace = dict(names)
    for source in sources:
        exec(compile(source, "<example>", "single"), namespace)


def test_there_are_examples():
    assert len(list(documented())) >= 17
