"""keras_prelu.io.loading: models by path and by name, from stand-ins of each package's cache."""

import json
import logging
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import FileError, KerasPReLUWarning
from keras_prelu.io.model_names import ModelName, beside
from tests.helpers import models


def same_outputs(one, other):
    x = models.samples(one, 3)
    np.testing.assert_array_equal(one.predict(x, verbose=0), other.predict(x, verbose=0))


def numbers(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize(
    ("text", "kind", "rest", "path", "output"),
    [
        ("a/model.keras", "file", "a/model.keras", "a/model.keras", "a/model.prelu.keras"),
        ("a/net.weights.h5", "file", "a/net.weights.h5", "a/net.weights.h5", "a/net.prelu.keras"),
        ("a/folder", "file", "a/folder", "a/folder", "a/folder.prelu.keras"),
        ("a/v1.2", "file", "a/v1.2", "a/v1.2", "a/v1.2.prelu.keras"),
        ("C:\\m.keras", "file", "C:\\m.keras", "C:\\m.keras", "C:\\m.prelu.keras"),
        ("applications:VGG16", "applications", "VGG16", "VGG16.keras", "VGG16.prelu.keras"),
        ("keras_hub:resnet", "keras_hub", "resnet", "resnet.keras", "resnet.prelu.keras"),
        ("keras_hub:A:resnet", "keras_hub", "A:resnet", "resnet.keras", "resnet.prelu.keras"),
        ("hf://me/net", "hf", "me/net", "net.keras", "net.prelu.keras"),
    ],
)
def test_names(text, kind, rest, path, output):
    name = ModelName(text)
    assert (name, name.kind, name.rest, str(name.path)) == (text, kind, rest, path)
    assert json.dumps({"model": name}) == json.dumps({"model": text})
    assert str(beside(text, "prelu")) == output


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("application:VGG16", "Did you mean applications:VGG16?"),
        ("keras-hub:vgg_16", "Did you mean keras_hub:vgg_16?"),
        ("huggingface://me/net", "Did you mean hf://me/net?"),
        ("VGG16", "Did you mean applications:VGG16?"),
        ("resnet_50_imagenet", "Models by name: applications:NAME, keras_hub:PRESET"),
        (
            "applications:VGG61",
            "keras.applications has no 'VGG61'. Did you mean 'VGG19' or 'VGG16'?",
        ),
        ("applications:get_file", "keras.applications has no 'get_file'"),
    ],
)
def test_names_that_are_none(text, advice):
    with pytest.raises(FileError, match=r"No such file|has no") as caught:
        kp.load_model(text)
    assert advice in str(caught.value)


def test_folders(tmp_path):
    model = models.live_in(models.mlp())
    model.save(tmp_path / "folder", zipped=False)
    same_outputs(kp.load_model(tmp_path / "folder"), model)
    (tmp_path / "outer").mkdir()
    model.save(tmp_path / "outer" / "model.keras")
    same_outputs(kp.load_model(tmp_path / "outer"), model)
    shutil.copy(tmp_path / "outer" / "model.keras", tmp_path / "outer" / "other.keras")
    with pytest.raises(FileError, match=r"several models: model\.keras, other\.keras"):
        kp.load_model(tmp_path / "outer")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="a folder without a model"):
        kp.load_model(tmp_path / "empty")
    (tmp_path / "empty" / "saved_model.pb").touch()
    with pytest.raises(FileError, match="A SavedModel holds compiled functions"):
        kp.load_model(tmp_path / "empty")


def test_the_weights_of_a_folder_are_checked(tmp_path):
    models.mlp().save(tmp_path / "folder", zipped=False)
    (tmp_path / "folder" / "model.weights.h5").write_bytes(b"no weights")
    with pytest.raises(FileError, match="folder"):
        kp.load_model(tmp_path / "folder")


def test_weights_alone(tmp_path):
    model = models.live_in(models.mlp())
    model.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(FileError, match="--import MODULE:FUNCTION"):
        kp.load_model(tmp_path / "net.weights.h5")
    same_outputs(kp.load_model(tmp_path / "net.weights.h5", build=models.mlp), model)
    shutil.copy(tmp_path / "net.weights.h5", tmp_path / "net.h5")
    same_outputs(kp.load_model(tmp_path / "net.h5", build=models.mlp), model)


def first_layers_alone():
    whole = models.mlp()
    return keras.Model(whole.inputs, whole.layers[1].output)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: keras.Sequential([keras.Input((7,)), keras.layers.Dense(3)]), "net.weights.h5"),
        (lambda: keras.Sequential([keras.layers.Dense(3)]), "a model that is not built"),
        (lambda: None, "Received: NoneType"),
        (lambda: 1 / 0, "raised a ZeroDivisionError"),
        (first_layers_alone, "it is another model's"),
    ],
)
def test_weights_of_another_model(tmp_path, build, message):
    models.mlp().save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(FileError, match=message):
        kp.load_model(tmp_path / "net.weights.h5", build=build)


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """Hugging Face's cache with the folder of one model in it, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--me--net"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_hugging_face(hugging_face, caplog):
    model = models.live_in(models.mlp())
    model.save(hugging_face, zipped=False)
    (hugging_face / "README.md").write_text("A model card")
    with caplog.at_level(logging.INFO, "keras_prelu"):
        same_outputs(kp.load_model("hf://me/net"), model)
    assert f"Loading hf://me/net from its cache, {hugging_face.parents[2]}" in caplog.text
    with pytest.raises(
        FileError, match=r"'hf://me/other' is not complete in .*can't be downloaded"
    ):
        kp.load_model("hf://me/other")


def test_offline_is_one_line(monkeypatch):
    def fetch(weights):
        raise Exception("URL fetch failure on https://host/file: None -- Name not known")

    monkeypatch.setattr(keras.applications, "VGG16", fetch)
    with pytest.raises(FileError, match=r"models, and can't be downloaded: URL fetch") as caught:
        kp.load_model("applications:VGG16")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["keras_hub", "huggingface_hub"])
def test_packages_that_are_missing(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    name = {"keras_hub": "keras_hub:vgg_16", "huggingface_hub": "hf://me/net"}[package]
    with pytest.raises(FileError, match=rf"needs {package} .*pip install 'keras-prelu\[hub\]'"):
        kp.load_model(name)


def test_functions_take_names(tmp_path):
    model = models.live_in(models.mlp())
    path = tmp_path / "model.keras"
    model.save(path)
    x = models.samples(model, 8)
    same_outputs(kp.convert(path), model)
    same_outputs(kp.convert(str(path)), model)
    assert kp.find_sites(path) == kp.find_sites(model)
    y = model.predict(x, verbose=0)
    result = kp.evaluate(path, (x, y), loss="mse")
    assert result.metrics == kp.evaluate(model, (x, y), loss="mse").metrics
    assert kp.compare(path, model, (x, y), loss="mse").gain == 0.0
    with pytest.raises(TypeError, match="nosuch"):
        kp.convert(path, nosuch=1)
    with pytest.raises(FileError, match="No such file"):
        kp.diagnose("missing.keras", x)


APPLICATION = """
import keras, keras_prelu as kp, numpy as np, os, sys
keras.utils.set_random_seed(0)
model = keras.applications.MobileNetV2(weights=None)
folder = os.path.join(os.environ["KERAS_HOME"], "models")
os.makedirs(folder)
model.save(os.path.join(folder, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"))
loaded = kp.load_model("applications:MobileNetV2")
for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, other)
"""


@pytest.mark.slow
def test_an_application_from_its_cache(tmp_path):
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", APPLICATION], env=environment, check=True, timeout=300)


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """KerasHub's cache with one preset in it, which holds a task."""
    keras_hub = pytest.importorskip("keras_hub")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    handle = keras_hub.models.Backbone.presets["resnet_18_imagenet"]["kaggle_handle"]
    owner, model, framework, variation, version = handle.removeprefix("kaggle://").split("/")
    folder = tmp_path / "cache" / "models" / owner / model / framework / variation / version
    backbone = keras_hub.models.ResNetBackbone(
        [64], [3], [64, 8], [1, 1], [1, 2], "basic_block", image_shape=(16, 16, 3)
    )
    task = keras_hub.models.ResNetImageClassifier(backbone, num_classes=4)
    task.save_to_preset(str(folder))
    completed = folder.parent / ".complete" / version
    completed.mkdir(parents=True)
    for path in folder.iterdir():
        (completed / f"{path.name}.complete").touch()
    return folder, task


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of KerasHub's dependencies
def test_keras_hub(kaggle):
    folder, task = kaggle
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    loaded = kp.load_model("keras_hub:resnet_18_imagenet")
    assert type(loaded) is type(task)
    np.testing.assert_array_equal(numbers(loaded, x), numbers(task, x))
    backbone = kp.load_model("keras_hub:Backbone:resnet_18_imagenet")
    np.testing.assert_array_equal(numbers(backbone, x), numbers(task.backbone, x))
    np.testing.assert_array_equal(numbers(kp.load_model(folder), x), numbers(task, x))
    np.testing.assert_array_equal(
        numbers(kp.load_model(f"keras_hub:{folder}"), x), numbers(task, x)
    )
    with pytest.raises(FileError, match=r"Did you mean .*resnet_18_imagenet"):
        kp.load_model("keras_hub:resnet_18_imagnet")
    with pytest.raises(FileError, match=r"no model 'Backbon'\. Did you mean 'Backbone'"):
        kp.load_model("keras_hub:Backbon:resnet_18_imagenet")
    (folder / "model.weights.h5").write_bytes(b"no weights")
    with pytest.raises(FileError, match=r"model\.weights\.h5|can't be"):
        kp.load_model(folder)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_compile_settings_of_keras_2_are_left_out_with_a_word(tmp_path):
    model = models.mlp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("absl.logging.warning", lambda *args: None)
        model.compile(loss="mse")
        model.save(tmp_path / "model.h5")
    import h5py

    with h5py.File(tmp_path / "model.h5", "a") as file:
        settings = json.loads(file.attrs["training_config"])
        settings["loss"] = "no_such_loss"
        file.attrs["training_config"] = json.dumps(settings)
    with pytest.warns(KerasPReLUWarning, match="is loaded without them"):
        same_outputs(kp.load_model(tmp_path / "model.h5"), model)
