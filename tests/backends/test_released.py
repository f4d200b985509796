"""Files that released versions wrote load, and compute what they did there."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import FileError
from tests.helpers import custom  # noqa: F401  registers the layers in some of the files
from tests.released.write import FOLDER, networks

FILES = sorted(FOLDER.glob("*/*.keras"))


@pytest.mark.filterwarnings(
    "ignore:.*does not have a `build:UserWarning"
)  # Keras's, about a layer whose own layers are built when called
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_computes_what_it_did(path):
    try:
        model = kp.load_model(path)
    except FileError as error:
        if "was written by Keras" not in str(error):
            raise
        pytest.skip("this Keras is older than the one that wrote it")
    with np.load(path.with_suffix(".npz")) as stored:
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(model(stored["x"])),
            stored["y"],
            rtol=1e-4,
            atol=1e-4 * np.abs(stored["y"]).max(),
        )
    assert (
        kp.diagnostics.layer_slopes(model) or path.stem == "wrapped"
    )  # a slope inside Keras's own wrapper


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the files are the same everywhere")
def test_every_release_has_its_files():
    """What is new since may be missing until the next one."""
    by_version = {
        folder.name: {path.stem for path in folder.glob("*.keras")}
        for folder in FOLDER.iterdir()
        if folder.name[0].isdigit()
    }
    assert kp.__version__ in by_version
    assert all(len(names) >= 13 for names in by_version.values())
    assert by_version[kp.__version__] <= {name for name, _ in networks()}
