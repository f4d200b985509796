"""The page of questions and errors: each command that it shows fails with the line below it.

`UPDATE_OUTPUTS=1` writes the lines anew.
"""

import itertools
import os
import shlex
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from keras_prelu.cli.main import main
from tests.helpers import pages

PAGE = Path(__file__).parents[2] / "docs" / "faq.md"
LAYERS = """
import keras


@keras.saving.register_keras_serializable("my_layers")
class Gate(keras.layers.Layer):
    def call(self, x):
        return keras.ops.relu(x)
"""
L = keras.layers


def network(*layers):
    model = keras.Sequential([keras.Input((8,)), *layers, L.Dense(3)])
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    )
    return model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with the files that the page speaks of."""
    keras.utils.clear_session()  # Layers are numbered from the beginning.
    monkeypatch.chdir(tmp_path)
    Path("my_layers.py").write_text(LAYERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import my_layers

    model = network(L.Dense(4, "relu"))
    model.save("model.keras")
    model.save_weights("only.weights.h5")
    network(L.Dense(4, "swish")).save("swish.keras")
    network(my_layers.Gate()).save("custom.keras")
    keras.saving.get_custom_objects().pop("my_layers>Gate")
    network(L.Lambda(lambda x: 2 * x), L.ReLU()).save("lambda.keras")
    quantized = network(L.Dense(4, "relu"))
    quantized.quantize("int8")
    quantized.save("int8.keras")
    Path("damaged.keras").write_bytes(Path("model.keras").read_bytes()[:2000])
    assert CliRunner().invoke(main, ["convert", "model.keras"]).exit_code == 0
    x, y = np.random.default_rng(0).normal(size=(40, 8)), np.arange(40) % 3
    np.savez("labelled.npz", x=x, y=y)
    np.savez("unlabelled.npz", x=x)
    np.savez("wide.npz", x=np.pad(x, ((0, 0), (0, 1))), y=y)
    np.savez("holes.npz", x=np.where(x > 2, np.nan, x))
    yield
    del sys.modules["my_layers"]


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("folder")
def test_errors_are_those_that_commands_print():
    page = PAGE.read_text(encoding="utf-8")
    shown = page
    blocks = [*pages.BLOCK.finditer(page)]
    for block, below in itertools.pairwise(blocks):
        if block[1] == "console":
            assert below[1] == "output"
            result = CliRunner().invoke(main, shlex.split(block[2])[2:])
            assert result.exit_code in (1, 2), f"{block[2]}{result.output}"
            (error,) = [line for line in result.stderr.splitlines() if not line.startswith("Read ")]
            shown = shown.replace(below[0], f"```output\n{error}\n```")
    if os.environ.get("UPDATE_OUTPUTS"):
        PAGE.write_text(shown, encoding="utf-8")
    assert pages.masked(shown) == pages.masked(PAGE.read_text(encoding="utf-8"))
