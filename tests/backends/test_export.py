"""What can be exported on each backend: Keras files on all, ONNX on TensorFlow and PyTorch with
what is installed for the tests, and PyTorch's programs.
"""

import keras
import pytest

import keras_prelu as kp
from tests.helpers import models
from tests.helpers.versions import older
from tests.unit.conversion.test_bake import with_slopes

BACKEND = keras.backend.backend()


@pytest.mark.parametrize("build", [models.residual, models.capped])
@pytest.mark.parametrize("name", ["model.keras", "model.onnx"])
def test_one_operation_a_site(tmp_path, name, build):
    if BACKEND == "jax" and name.endswith("onnx"):
        pytest.skip("jax2onnx is not among the packages for the tests")
    if BACKEND == "torch" and name.endswith("onnx") and older("keras", "3.14"):
        pytest.skip("Keras writes a fixed batch size")
    model = with_slopes(kp.convert(models.live_in(build()), rescale="none"))
    record = kp.export(model, tmp_path / name, samples=models.samples(model, 16))
    assert record.difference <= 1e-5
    found = {kind.lower(): count for kind, count in record.operations.items()}
    sites = sum(site.layer == "PReLU" for site in kp.find_sites(model))
    assert found["prelu"] == sites
    assert "neg" not in found


@pytest.mark.skipif(BACKEND == "tensorflow", reason="these formats are TensorFlow's")
@pytest.mark.parametrize("name", ["model.tflite", "model"])
def test_tensorflows_formats_say_what_they_need(tmp_path, name):
    with pytest.raises(kp.errors.ExportError, match="KERAS_BACKEND=tensorflow"):
        kp.export(models.mlp(), tmp_path / name)


@pytest.mark.skipif(
    BACKEND != "torch" or older("keras", "3.15"), reason="the format is PyTorch's, since Keras 3.15"
)
@pytest.mark.parametrize(
    "build", [models.residual, models.capped, models.two_outputs, models.siamese]
)
def test_programs_of_pytorch_take_any_batch(tmp_path, build):
    model = with_slopes(kp.convert(models.live_in(build()), rescale="none"))
    for count in (16, 1):
        record = kp.export(
            model, tmp_path / "model.pt2", samples=models.samples(model, count), force=True
        )
        assert record.difference <= 1e-5
        assert record.operations["relu"] > 0


@pytest.mark.skipif(BACKEND != "torch", reason="the format is PyTorch's")
def test_pytorchs_format_needs_a_keras_that_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(keras, "version", lambda: "3.14.1")
    with pytest.raises(kp.errors.ExportError, match=r"needs Keras 3\.15, and this is 3\.14\.1"):
        kp.export(models.mlp(), tmp_path / "model.pt2")


@pytest.mark.skipif(BACKEND == "torch", reason="the format is PyTorch's")
def test_pytorchs_format_says_what_it_needs(tmp_path):
    with pytest.raises(kp.errors.ExportError, match="KERAS_BACKEND=torch"):
        kp.export(models.mlp(), tmp_path / "model.pt2")
