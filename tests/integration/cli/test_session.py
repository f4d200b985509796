"""What all commands share: starting Keras, and settings of the process that are restored."""

import logging
import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.cli.session import keras_session
from keras_prelu.data.functions import named_function
from keras_prelu.errors import KerasPReLUWarning
from keras_prelu.utils import quiet
from tests.helpers.processes import QUICK_TO_START
from tests.integration.cli.commands import invoke

PROGRAM = [sys.executable, "-m", "keras_prelu"]


def session(**changes):
    settings = {"backend": None, "seed": 0, "modules": (), "debug": False}
    return keras_session(**settings | changes)


def process_state():
    return (
        warnings.showwarning,
        list(warnings.filters),
        list(sys.path),
        logging.getLogger("absl").level,
        quiet._everything_passes,
    )


@pytest.mark.parametrize("debug", [False, True])
def test_the_state_of_the_process_is_restored(debug, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = process_state()
    with session(modules=["json"], debug=debug), session(debug=debug):
        assert sys.path[0] == str(tmp_path)
        assert quiet._everything_passes == debug
    assert process_state() == before


def test_modules_of_the_working_directory_are_found_only_as_long_as_they_are_used(
    tmp_path, monkeypatch
):
    (tmp_path / "functions_of_user.py").write_text("def one():\n    import later_of_user\n")
    (tmp_path / "later_of_user.py").write_text("")
    monkeypatch.chdir(tmp_path)
    before = process_state()
    named_function("functions_of_user:one")
    assert process_state() == before
    with session():  # A function may import others when it is called.
        assert str(tmp_path) not in sys.path
        named_function("functions_of_user:one")()
        assert sys.path[0] == str(tmp_path)
    assert process_state() == before


def test_the_state_of_the_process_is_restored_after_an_error():
    before = process_state()

    def fail():
        with session(debug=True):
            raise RuntimeError("in the body")

    with pytest.raises(RuntimeError, match="in the body"):
        fail()
    assert process_state() == before


def test_own_warnings_are_notes_and_others_are_silent(capsys):
    with session():
        warnings.warn("something to know", KerasPReLUWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "Note: something to know\n"


def test_other_warnings_are_shown_for_debugging():
    def warn():
        with session(debug=True):
            warnings.simplefilter("always")
            warnings.warn("something else", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        warn()


def test_the_seed():
    with session(seed=3):
        first = keras.random.uniform((2,))
    with session(seed=3):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(keras.random.uniform((2,))),
            keras.ops.convert_to_numpy(first),
        )


@pytest.mark.usefixtures("folder")
def test_another_backend_needs_another_process():
    other = "jax" if keras.backend.backend() != "jax" else "torch"
    result = invoke("inspect relu.keras --backend", other, expect=1)
    assert "already runs on another backend" in result.stderr


@pytest.mark.usefixtures("folder")
def test_a_module_with_custom_layers(folder):
    (folder / "cli_layers.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable(package='mine')\n"
        "class CliDouble(keras.layers.Layer):\n"
        "    def call(self, x): return 2 * x\n"
    )
    code = (
        "import keras, cli_layers\nkeras.Sequential([keras.Input((3,)), cli_layers.CliDouble(),"
        " keras.layers.ReLU()]).save('custom.keras')"
    )
    with session(modules=["cli_layers"]):
        exec(code, {})
    keras.saving.get_custom_objects().pop("mine>CliDouble")
    del sys.modules["cli_layers"]
    refused = invoke("inspect custom.keras", expect=1)
    assert "custom class 'CliDouble'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    accepted = invoke("inspect custom.keras --import cli_layers")
    assert accepted.stderr == ""
    assert "re_lu" in accepted.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_reader_that_stops_is_not_an_error():
    command = f"{' '.join(PROGRAM)} inspect relu.keras --json | true"
    result = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "KERAS_BACKEND": QUICK_TO_START},
    )
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_backends_agree():
    for backend in ("jax", "torch"):
        pytest.importorskip(backend, reason="JAX and PyTorch are optional")
        arguments = f"convert relu.keras --backend {backend} --data samples.npz -o {backend}.keras"
        result = subprocess.run(
            [*PROGRAM, *arguments.split()],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )
        assert result.returncode == 0, result.stderr
        # What the command says itself; the libraries are silent.
        own = ("Read samples.npz", "Calibrating")
        assert all(line.startswith(own) for line in result.stderr.splitlines()), result.stderr
    x = kp.data.load("digits").test.x
    outputs = [
        kp.load_model(f"{backend}.keras").predict(x, verbose=0) for backend in ("jax", "torch")
    ]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)
