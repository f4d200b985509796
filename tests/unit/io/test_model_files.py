"""keras_prelu.io.model_files: loading says what is wrong; saving is all or nothing."""

import json
import os
import resource
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import FileError, KerasPReLUWarning
from keras_prelu.io.model_names import beside
from tests.helpers import models

L = keras.layers


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.keras"
    models.mlp().save(path)
    return path


def test_round_trip(tmp_path):
    model = models.live_in(models.mlp())
    kp.save_model(model, tmp_path / "a.keras")
    x = models.samples(model, 3)
    np.testing.assert_array_equal(
        kp.load_model(tmp_path / "a.keras").predict(x, verbose=0), model.predict(x, verbose=0)
    )
    assert os.listdir(tmp_path) == ["a.keras"]
    (tmp_path / "ordinary").touch()
    assert (tmp_path / "a.keras").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.filterwarnings(
    "ignore:You are saving your model as an HDF5 file"
)  # Keras's advice; the test is about these files
def test_legacy_h5(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *args: None)
        models.mlp().save(tmp_path / "model.h5")
    assert kp.load_model(tmp_path / "model.h5").name == "mlp"


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def no_archive(path):
    path.write_bytes(b"not a zip archive")


def empty(path):
    path.write_bytes(b"")


def no_config(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def flipped(path):
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, len(data) // 3 + 400):
        data[position] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncated, no_archive, empty, no_config, flipped])
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # h5py closing what it could not open
def test_damaged_files(saved, damage):
    damage(saved)
    with pytest.raises(FileError, match=r"model\.keras'") as caught:
        kp.load_model(saved)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def from_keras(path, version):
    """As if that version had written a file, with an argument that this one doesn't know."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["from_another_version"] = None
    members["config.json"] = json.dumps(config).encode()
    members["metadata.json"] = json.dumps(
        {**json.loads(members["metadata.json"]), "keras_version": version}
    ).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_file_of_a_newer_keras_is_told_from_a_damaged_one(saved):
    from_keras(saved, "99.1.0")
    with pytest.raises(
        FileError,
        match=(
            r"was written by Keras 99\.1\.0, and this is \d.*pip install --upgrade"
            r" keras.*from_another_version"
        ),
    ):
        kp.load_model(saved)
    from_keras(saved, "3.0.0")
    with pytest.raises(FileError, match="may be damaged"):
        kp.load_model(saved)


def test_what_is_no_model_file(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        kp.load_model(tmp_path / "missing.keras")
    with pytest.raises(FileError, match="is a folder"):
        kp.load_model(tmp_path)
    (tmp_path / "model.txt").write_text("hello")
    with pytest.raises(FileError, match=r"must end in \.keras"):
        kp.load_model(tmp_path / "model.txt")


def test_an_unknown_custom_layer_is_named(tmp_path):
    class Mystery(keras.layers.Layer):
        """Keras finds no class of this name in the module."""

        def call(self, x):
            return x

    keras.Sequential([keras.Input((2,)), Mystery()]).save(tmp_path / "m.keras")
    with pytest.raises(FileError, match=r"custom class 'Mystery'.*--import MODULE"):
        kp.load_model(tmp_path / "m.keras")


def test_a_lambda_layer_in_a_file_is_not_run(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]).save(
        tmp_path / "m.keras"
    )
    with pytest.raises(FileError, match="Lambda"):
        kp.load_model(tmp_path / "m.keras")


def test_nothing_is_overwritten_without_force(saved):
    before = saved.read_bytes()
    with pytest.raises(FileError, match="--force"):
        kp.save_model(models.residual(), saved)
    assert saved.read_bytes() == before
    kp.save_model(models.residual(), saved, force=True)
    assert kp.load_model(saved).name == "residual"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    model = models.mlp()
    save = type(model).save

    def slow(self, *args, **kwargs):
        save(self, *args, **kwargs)
        path.write_text("someone else's")

    monkeypatch.setattr(type(model), "save", slow)
    with pytest.raises(FileError, match="appeared"):
        kp.save_model(model, path)
    assert path.read_text() == "someone else's"
    assert os.listdir(tmp_path) == ["model.keras"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.h5", r"end in \.keras"),
        ("nosuch/model.keras", "does not exist"),
        ("folder.keras", "is a folder"),
    ],
)
def test_bad_outputs(tmp_path, name, message):
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(FileError, match=message):
        kp.save_model(models.mlp(), tmp_path / name, force=True)
    assert os.listdir(tmp_path) == ["folder.keras"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_everything_as_it_was(tmp_path, existing):
    """A limit on file sizes stands in for a full disk: writing fails in the middle."""
    path = tmp_path / "model.keras"
    if existing:
        path.write_text("precious")
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(1000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(FileError, match=r"Could not write .*model\.keras"):
            kp.save_model(model, path, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == (["model.keras"] if existing else [])
    assert not existing or path.read_text() == "precious"


def test_beside():
    assert str(beside("a/b.keras", "prelu")) == "a/b.prelu.keras"
    assert str(beside("model.h5", "prelu")) == "model.prelu.keras"


def _own_loss(labels, outputs):
    return keras.ops.mean(keras.ops.square(labels - outputs), axis=-1)


KERAS_2 = {
    "a rate that is now called learning_rate": {
        "loss": "mse",
        "metrics": [["accuracy"]],
        "optimizer_config": {"class_name": "SGD", "config": {"name": "SGD", "lr": 0.01}},
    },
    "a reduction that is no more": {
        "loss": {"class_name": "MeanSquaredError", "config": {"reduction": "auto"}},
        "optimizer_config": {"class_name": "Adam", "config": {}},
    },
    "a loss that is not registered": {
        "loss": "focal",
        "optimizer_config": {"class_name": "Adam", "config": {}},
    },
    "an optimizer of an add-on": {
        "loss": "mse",
        "optimizer_config": {"class_name": "Addons>AdamW", "config": {"weight_decay": 1e-4}},
    },
}


def compiled_model(loss="mse"):
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)]
    )
    model.compile("sgd", loss)
    return model


@pytest.mark.parametrize("settings", KERAS_2.values(), ids=KERAS_2)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_compile_settings_of_keras_2(tmp_path, settings):
    model, path = compiled_model(), tmp_path / "old.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps(settings)
    with pytest.warns(KerasPReLUWarning, match=r"compile settings in '.*old\.h5' can't be read"):
        loaded = kp.load_model(path)
    assert not loaded.compiled
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_loss_that_is_not_registered(tmp_path):
    model, path = compiled_model(_own_loss), tmp_path / "own.keras"
    model.save(path)
    with pytest.warns(KerasPReLUWarning, match=r"'_own_loss' is not registered here.*--import"):
        loaded = kp.load_model(path)
    assert not loaded.compiled
    converted = kp.convert(model, alpha=0.1, rescale="none")
    x, y = np.ones((4, 3), "float32"), np.zeros((4, 2), "float32")
    assert converted.loss is _own_loss
    assert converted.optimizer is not model.optimizer
    converted.fit(x, y, verbose=0)


def test_a_damaged_file_is_no_file_without_compile_settings(tmp_path):
    path = tmp_path / "damaged.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled_model().save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps({"loss": "focal"})
        file.attrs["model_config"] = "{}"
    with pytest.raises(kp.KerasPReLUError):
        kp.load_model(path)


@pytest.mark.parametrize(
    ("layer", "description"),
    [
        (
            {
                "module": "keras.layers",
                "class_name": "TFSMLayer",
                "config": {"filepath": "folder", "call_endpoint": "serve"},
                "registered_name": None,
            },
            "a TFSMLayer, which would load a SavedModel",
        ),
        (
            {
                "module": "keras.layers",
                "class_name": "StringLookup",
                "config": {"vocabulary": "words.txt"},
                "registered_name": None,
            },
            "a vocabulary that would be read from outside",
        ),
    ],
)
def test_what_is_unsafe_is_called_by_its_name(layer, description, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "safe.keras")
    with zipfile.ZipFile(tmp_path / "safe.keras") as source:
        members = {name: source.read(name) for name in source.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] = layer
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "unsafe.keras", "w") as target:
        for name, data in members.items():
            target.writestr(name, data)
    with pytest.raises(FileError, match=f"{description}.*allow_unsafe=True") as caught:
        kp.load_model(tmp_path / "unsafe.keras")
    assert "Lambda" not in str(caught.value)


def test_a_sequential_that_calls_a_layer_twice_is_not_saved_as_another_model(tmp_path):
    """Keras makes two layers of it when it loads the file."""
    layer = L.Dense(6, activation="relu")
    model = keras.Sequential([keras.Input((6,)), layer, L.Dropout(0.1), layer, L.Dense(6)])
    outer = keras.Sequential([keras.Input((6,)), model, L.Dense(2)])
    for refused in (model, kp.convert(model), kp.convert(outer)):
        with pytest.raises(FileError, match=r"calls layer 'dense.*' several times"):
            kp.save_model(refused, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    functional = kp.convert(keras.Model(model.inputs, model.outputs))
    kp.save_model(functional, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    # A layer without weights may be called several times.
    relu = L.ReLU()
    kp.save_model(
        keras.Sequential([keras.Input((6,)), L.Dense(6), relu, L.Dense(6), relu]),
        tmp_path / "other.keras",
    )


class Bare(L.Layer):
    """Takes no arguments, not even those of every layer."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(4)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(keras.ops.relu(self.dense(x)))


class BareModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = Bare()

    def call(self, x):
        return self.inner(x)


class Whole(BareModel):
    """Takes its own configuration; what it creates is in no file."""

    def get_config(self):
        return {}


def test_a_model_that_could_not_be_loaded_is_not_written(tmp_path):
    path, x = tmp_path / "m.keras", np.zeros((2, 4))
    inputs = keras.Input((4,))
    graph = keras.Model(inputs, Bare()(inputs))
    for model, name in ((BareModel(), "BareModel"), (graph, "Bare")):
        model(x)
        for each in (model, kp.convert(model)):
            with pytest.raises(FileError, match=rf"the __init__ of {name} does not take.*kwargs"):
                kp.save_model(each, path)
    assert not list(tmp_path.iterdir())
    model = Whole()
    model(x)
    for each in (model, kp.convert(model)):
        kp.save_model(each, path, force=True)
        with keras.saving.custom_object_scope({"Whole": Whole}):
            loaded = kp.load_model(path)
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), each.predict(x, verbose=0))
