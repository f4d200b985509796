"""keras_prelu.io.validation: what a file declares is checked before anything is built from it."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import FileError
from keras_prelu.io.validation import check_archive
from tests.helpers import models

L = keras.layers
WEIGHTS = "model.weights.h5"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.keras"
    inputs = keras.Input((8,), name="in")
    first = L.Dense(8, activation="relu", name="first")(inputs)
    added = L.Add(name="add")([inputs, first])
    keras.Model(inputs, L.Dense(4, name="last")(added), name="small").save(path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, **changes):
    content = {**members(path), **{name.replace("__", "."): data for name, data in changes.items()}}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def edit_config(path, edit):
    config = json.loads(members(path)["config.json"])
    edit(config["config"]["layers"])
    rewrite(path, config__json=json.dumps(config))


def edit_weights(path, edit):
    store = io.BytesIO(members(path)[WEIGHTS])
    with h5py.File(store, "r+") as file:
        name = "layers/dense/vars/0"
        del file[name]
        edit(file, name)
    rewrite(path, **{WEIGHTS: store.getvalue()})


def layer(layers, name):
    return next(item for item in layers if item["name"] == name)


def test_a_whole_file_tells_what_it_holds(saved):
    size = sum(np.asarray(weight).nbytes for weight in kp.load_model(saved).get_weights())
    assert check_archive(saved) == size


def huge(layers):
    layer(layers, "first")["config"]["units"] = 10**9


def missing_input(layers):
    layers[:] = [item for item in layers if item["name"] != "add"]


def circle(layers):
    history = layer(layers, "first")["inbound_nodes"][0]["args"][0]["config"]["keras_history"]
    history[0] = "add"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (huge, "damaged: layer 'first' wants .*1000000000.* more than the file holds"),
        (missing_input, "'last' takes the output of 'add', which is not in the model"),
        (circle, "takes the output of .*, which waits for others in a circle"),
    ],
)
def test_configurations_that_can_not_be(saved, edit, message):
    edit_config(saved, edit)
    with pytest.raises(FileError, match=message):
        kp.load_model(saved)


def absurd(file, name):
    file.create_dataset(name, shape=(2**50,), dtype="float32", chunks=(1024,))


def other_file(file, name):
    file[name] = h5py.ExternalLink("other.h5", "/secret")


def external_storage(file, name):
    file.create_dataset(name, shape=(8, 8), dtype="float32", external=[("other.bin", 0, 256)])


def misfit(file, name):
    file[name] = np.zeros((8, 5), "float32")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (absurd, r"declares 4,503,599\.6 GB of data"),
        (other_file, "link at '/layers/dense/vars/0'.*not followed"),
        (external_storage, "keeps the weights '/layers/dense/vars/0' in another file"),
        (misfit, r"damaged: its weights do not fit layer 'first' \(Dense\).*[(\[]8, 5"),
    ],
)
def test_weights_that_can_not_be(saved, edit, message):
    edit_weights(saved, edit)
    with pytest.raises(FileError, match=message):
        kp.load_model(saved)


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "assets/../../evil.txt"])
def test_paths_that_lead_out_of_the_archive(saved, name):
    rewrite(saved, **{name: b"evil"})
    with pytest.raises(FileError, match="points outside"):
        kp.load_model(saved)


def test_a_zip_bomb_is_not_unpacked(saved):
    """40 GB of zeros in 40 MB: the declared size decides, so that a small archive with a false
    header serves as well."""
    rewrite(saved, bomb=b"0" * 1000)
    data = bytearray(saved.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"bomb"))
    data[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")  # the declared size
    saved.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_prelu.io.validation.physical_memory", lambda: 2**30)
        with pytest.raises(
            FileError, match=r"declares 4\.3 GB of data, more than the 1\.1 GB of memory here"
        ):
            kp.load_model(saved)


@keras.saving.register_keras_serializable("tests")
class Rows(L.Layer):
    """Its layers are in a list of lists."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rows = [[L.Dense(3, name="a")], [L.Dense(3, name="b")]]

    def build(self, shape):
        for (dense,) in self.rows:
            dense.build(shape)

    def call(self, inputs):
        return sum(dense(inputs) for (dense,) in self.rows)


def test_weights_that_a_file_lacks_are_not_drawn(tmp_path):
    """Keras warns and goes on with fresh weights where a part is missing that an older version did
    not write."""
    path = tmp_path / "rows.keras"
    keras.Sequential([keras.Input((3,)), Rows(name="block")]).save(path)
    kp.load_model(path)
    store = io.BytesIO(members(path)[WEIGHTS])
    with h5py.File(store, "r+") as file:
        del file["layers/rows/rows/container_1"]
    rewrite(path, **{WEIGHTS: store.getvalue()})
    with pytest.raises(
        FileError, match=r"holds no weights for a part of the model.*rows/container_1"
    ):
        kp.load_model(path)


def test_graphs_as_keras_2_wrote_them_are_understood(saved):
    """In legacy files a call is a list of [layer, call, tensor, arguments]."""
    layers = [
        {"name": "in", "class_name": "InputLayer", "inbound_nodes": []},
        {"name": "a", "class_name": "Dense", "inbound_nodes": [[["in", 0, 0, {}]]]},
        {
            "name": "b",
            "class_name": "Add",
            "inbound_nodes": [[["a", 0, 0, {}], ["nowhere", 0, 0, {}]]],
        },
    ]
    rewrite(
        saved, config__json=json.dumps({"class_name": "Functional", "config": {"layers": layers}})
    )
    with pytest.raises(
        FileError, match="layer 'b' takes the output of 'nowhere', which is not in the model"
    ):
        check_archive(saved)


@pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file"
)  # Keras's advice; the test is about these files
def test_legacy_files_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr("absl.logging.warning", lambda *args: None)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "lambda.h5")
    with pytest.raises(FileError, match=r"Lambda.*allow_unsafe=True.*--allow-unsafe"):
        kp.load_model(tmp_path / "lambda.h5")
    assert (
        kp.load_model(tmp_path / "lambda.h5", allow_unsafe=True).layers[0].name.startswith("lambda")
    )
    models.mlp().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(FileError, match="holds weights without a model"):
        kp.load_model(tmp_path / "only.weights.h5")
    models.mlp().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        (name,) = [name for name in names(file) if name.endswith("first/kernel")]
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "/secret")
    with pytest.raises(FileError, match="not followed"):
        kp.load_model(tmp_path / "model.h5")


def names(file):
    found = []
    file.visit(found.append)
    return found


@pytest.mark.tensorflow
def test_a_saved_model_folder_says_the_way_out(tmp_path):
    models.mlp().export(tmp_path / "saved", verbose=False)
    with pytest.raises(
        FileError,
        match=r"is a folder\. A SavedModel holds compiled functions.*model\.save\('model\.keras'\)",
    ):
        kp.load_model(Path(tmp_path / "saved"))
