"""keras_prelu.data.losses: losses by name, of Keras and of the user."""

import keras
import numpy as np
import pytest

from keras_prelu.data.losses import named_loss, resolved_loss
from keras_prelu.data.output_losses import OutputLoss, sample_losses
from keras_prelu.errors import DataError, InvalidArgumentError


def test_losses_that_there_are():
    own = keras.losses.MeanSquaredError()
    assert resolved_loss(None) is None
    assert resolved_loss(own) is own
    assert resolved_loss(["mse"]) is keras.losses.mean_squared_error
    assert resolved_loss({"out": own}) is own
    assert resolved_loss({"a": "mae", "b": None}) == {
        "a": keras.losses.mean_absolute_error,
        "b": None,
    }


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("mea", "no Keras loss 'mea'. Did you mean 'm.e'"),
        ("mean_squared_eror", "Did you mean 'mean_squared_error'"),
        ("SparseCategoricalCrossentropie", "Did you mean '.*crossentropy'"),
        ("nonsense!", "function of your own"),
        (7, "no Keras loss 7"),
        (["mse", "mea"], "'mea'"),
        ({"a": "mse", "b": "mea"}, "'mea'"),
    ],
)
def test_losses_that_there_are_not(loss, message):
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        resolved_loss(loss)
    assert "\n" not in str(caught.value)


def test_losses_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_losses.py").write_text(
        "import keras\n"
        "def squared(y, p): return keras.ops.mean((y - p) ** 2, -1)\n"
        "class Squared(keras.losses.Loss):\n"
        "    def call(self, y, p): return squared(y, p)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert named_loss("own_losses:squared").__name__ == "squared"
    assert isinstance(named_loss("own_losses:Squared"), keras.losses.Loss)
    assert named_loss("mse") is keras.losses.mean_squared_error
    with pytest.raises(DataError, match="no function 'cubed'"):
        named_loss("own_losses:cubed")
    with pytest.raises(InvalidArgumentError, match="Write module:function"):
        named_loss("own losses:cubed")


def squared(y, p):
    return keras.ops.mean(keras.ops.square(y - p), axis=-1)


def summed(y, p):
    return keras.ops.sum(keras.ops.square(y - p), axis=-1)


@pytest.mark.parametrize("loss", [squared, summed, keras.losses.MeanSquaredError()])
@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ((4,), (4, 1)),
        ((4, 1), (4,)),
        ((4, 1), (4, 1)),
        ((4, 3), (4, 3, 1)),
        ((4, 3, 1), (4, 3)),
        ((4, 3, 1), (4, 3, 1)),
    ],
)
def test_labels_and_outputs_are_aligned_as_in_training(loss, outputs, labels):
    x, y = np.arange(np.prod(outputs)).reshape(outputs), np.ones(labels)
    model = keras.Sequential([keras.Input(outputs[1:]), keras.layers.Identity()])
    model.compile("sgd", loss)
    expected = model.evaluate(x, y, batch_size=4, verbose=0)
    values = sample_losses(OutputLoss(output=0, function=loss, weight=1.0), y, x).values
    assert tuple(values.shape) == (4,)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(values).mean(), expected, rtol=1e-6)
