"""One small classifier and its data, made once and copied into the folder of each test."""

import shutil

import keras
import numpy as np
import pytest

import keras_prelu as kp

L = keras.layers


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """relu.keras, a classifier of the digits; prelu.keras, converted from it; samples.npz without
    labels and labelled.npz with labels."""
    folder = tmp_path_factory.mktemp("files")
    digits = kp.data.load("digits")
    relu = classifier(digits.train.x, digits.train.y)
    relu.save(folder / "relu.keras")
    kp.save_model(with_slopes_per_channel(relu), folder / "prelu.keras")
    np.savez(folder / "samples.npz", x=digits.train.x[:200])
    np.savez(folder / "labelled.npz", x=digits.train.x[:200], y=digits.train.y[:200])
    return folder


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    """A working directory with copies of the files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_once(monkeypatch):
    """Return a function that makes a function of a module compute once and return the same result
    from then on: a test that looks at a result as text and as JSON waits for it only once."""

    def replace(module, name):
        function, results = getattr(module, name), []

        def replacement(*args, **kwargs):
            if not results:
                results.append(function(*args, **kwargs))
            return results[0]

        monkeypatch.setattr(module, name, replacement)

    return replace


def classifier(x, y):
    """A network with random features and a fitted last layer, the same on every backend. Two of its
    units are dead."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(8, 3, activation="relu", name="conv"),
            L.Flatten(name="flat"),
            L.Dense(16, name="hidden"),
            L.ReLU(name="act"),
            L.Dense(10, name="logits"),
        ],
        name="small",
    )
    rng = np.random.default_rng(1)
    biases = np.zeros(16)
    biases[:2] = -20.0
    model.get_layer("conv").set_weights([rng.normal(size=(3, 3, 1, 8)) / 3, np.zeros(8)])
    model.get_layer("hidden").set_weights([rng.normal(size=(288, 16)) / 16, biases])
    features = keras.Model(model.inputs, model.get_layer("act").output).predict(x, verbose=0)
    design = np.hstack([features, np.ones((len(features), 1))])
    ridge = 1e-3 * np.eye(17)  # The columns of the dead units are 0.
    targets = 2.0 * np.eye(10)[y]
    solution = np.linalg.solve(design.T @ design + ridge, design.T @ targets)
    model.get_layer("logits").set_weights([solution[:-1], solution[-1]])
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def with_slopes_per_channel(relu):
    model = kp.convert(relu, rescale="none")
    for name in ("conv_prelu", "act"):
        beta = model.get_layer(name).beta
        beta.assign(np.log(np.linspace(0.1, 0.4, beta.shape[-1])).reshape(beta.shape))
    return model
