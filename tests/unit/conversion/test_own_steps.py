"""Models with a training step of their own: GANs, and others whose `fit` does not train as usual."""

import functools

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras import ops

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers.own_steps import Adversarial, OwnStep, adversarial

pytestmark = pytest.mark.backends

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
Z = RNG.normal(size=(7, 3)).astype("float32")


def own_step():
    keras.utils.set_random_seed(0)
    model = OwnStep()
    model(X)
    model.compile("adam", "mse")
    return model


def test_a_converted_model_trains_by_its_own_step():
    converted = kp.convert(own_step())
    before = [ops.convert_to_numpy(layer.beta) for _, layer in prelu_layers(converted)]
    converted.fit(X, Y, epochs=2, verbose=0)
    assert converted.steps > 0
    for (_, layer), value in zip(prelu_layers(converted), before, strict=True):
        assert np.any(ops.convert_to_numpy(layer.beta) != value)


@pytest.mark.slow
def test_it_is_fine_tuned_compared_and_diagnosed():
    data = (X, Y)
    model = own_step()
    result = kp.finetune(model, data, data, recipe="identity", epochs=2)
    assert result.prelu.model.steps > 0
    assert result.control.model.steps > 0
    assert result.prelu.history["val_loss"][1] < result.prelu.history["val_loss"][0]
    comparison = kp.compare(result.prelu.model, model, data)
    assert comparison.a < comparison.b
    assert len(kp.diagnostics.diagnose(model, data).units) == 1


def test_a_model_that_does_not_report_its_loss_is_refused_before_it_is_trained():
    class Silent(OwnStep):
        @property
        def metrics(self):
            return [self.other]

        @functools.cached_property
        def other(self):
            return keras.metrics.Mean(name="other")

    model = Silent()
    model(X)
    model.compile("adam", "mse")
    with pytest.raises(kp.errors.InvalidArgumentError, match="reports no 'loss' from evaluate"):
        kp.finetune(model, (X, Y), (X, Y), recipe="identity", epochs=1)


def part_outputs(model):
    return [
        ops.convert_to_numpy(part(x))
        for part, x in ((model.discriminator, X), (model.generator, Z))
    ]


def test_the_parts_of_a_model_without_call_are_converted():
    model = adversarial()
    expected = part_outputs(model)
    assert [site.path for site in kp.find_sites(model)] == [
        "discriminator/leaky",
        "generator/relu()",
    ]
    converted = kp.convert(model)
    assert isinstance(converted, Adversarial)
    for one, other in zip(part_outputs(converted), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(list(prelu_layers(converted))) == 2
    # Optimizers that are built know nothing of the slopes.
    assert converted.g_optimizer is not model.g_optimizer
    assert isinstance(converted.g_optimizer, keras.optimizers.SGD)
    converted.d_optimizer.build(converted.discriminator.trainable_variables)
    slopes = kp.convert(model, alpha=0.3, rescale="none")
    assert np.abs(part_outputs(slopes)[1] - expected[1]).max() > 1e-3


def test_the_parts_are_converted_in_place():
    model = adversarial()
    expected = part_outputs(model)
    model.d_optimizer.build(model.discriminator.trainable_variables)
    optimizer = model.d_optimizer
    assert kp.convert(model, in_place=True) is model
    for one, other in zip(part_outputs(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.d_optimizer is not optimizer
    assert not model.d_optimizer.built


@pytest.mark.parametrize(
    "use",
    [
        lambda model: kp.convert(model, alpha=0.2, calibration_data=X),
        lambda model: kp.convert(model, alpha=0.2, calibration_data=X, in_place=True),
        lambda model: kp.finetune(model, (X, Y), (X, Y), epochs=1, loss="mse"),
        lambda model: kp.compare(model, model, (X, Y)),
        lambda model: kp.diagnostics.diagnose(model, X),
        lambda model: kp.revive(model, X),
    ],
)
def test_what_needs_outputs_names_the_parts(use):
    with pytest.raises(kp.KerasPReLUError, match=r"no call\(\).*'discriminator' and 'generator'"):
        use(adversarial())


def test_parts_without_weights_are_named():
    model = Adversarial(keras.Sequential([L.Dense(2, activation="relu")], name="d"), L.Dense(2))
    with pytest.raises(kp.errors.ConversionError, match="has no weights yet"):
        kp.find_sites(model)


class Scaled(keras.Sequential):
    """A Sequential with a call of its own."""

    def call(self, inputs, training=None, mask=None):
        return 2.0 * ops.relu(super().call(inputs, training=training, mask=mask)) - 1.0


def test_a_sequential_with_code_of_its_own_is_a_subclassed_model():
    keras.utils.set_random_seed(0)
    model = Scaled([keras.Input((6,)), L.Dense(8, activation="relu"), L.Dense(32)])
    expected = ops.convert_to_numpy(model(X))
    converted = kp.convert(model, include="*")
    assert isinstance(converted, Scaled)
    np.testing.assert_array_equal(ops.convert_to_numpy(converted(X)), expected)
    assert len(list(prelu_layers(converted))) == 2
    calibrated = kp.run_conversion(model, alpha=0.25, calibration_data=X)
    assert calibrated.calibration.error_after < 0.8 * calibrated.calibration.error_before


def test_a_sequential_of_several_inputs_has_no_graph_and_is_converted():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([L.Concatenate(), L.Dense(8, activation="relu"), L.Dense(1)])
    expected = ops.convert_to_numpy(model([X, X]))
    converted = kp.convert(model)
    np.testing.assert_array_equal(ops.convert_to_numpy(converted([X, X])), expected)
    assert len(list(prelu_layers(converted))) == 1


class Structured(keras.Model):
    """Takes and returns nested structures."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.one, self.other, self.head = L.Dense(8, activation="relu"), L.Dense(8), L.Dense(1)

    def call(self, inputs):
        hidden = self.one(inputs["a"]) + ops.relu(self.other(inputs["rest"][0]))
        return {"main": self.head(hidden), "aux": [self.head(hidden), inputs["rest"][1]]}


@pytest.mark.slow
def test_inputs_and_outputs_in_any_structure():
    keras.utils.set_random_seed(0)
    model = Structured()
    inputs = {"a": X, "rest": [X, X]}
    expected = keras.tree.flatten(model(inputs))
    model.compile("adam", loss={"main": "mse", "aux": ["mse", "mse"]})
    conversion = kp.run_conversion(model, alpha=0.25, calibration_data=inputs)
    assert conversion.error < 0.1
    for one, other in zip(keras.tree.flatten(kp.convert(model)(inputs)), expected, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (one, other)))
    assert len(kp.diagnostics.diagnose(model, inputs).units) == 2
    data = (inputs, {"main": Y, "aux": [Y, X]})
    result = kp.finetune(model, data, data, recipe="identity", epochs=1)
    loss = model.evaluate(*data, verbose=0, return_dict=True)["loss"]
    assert kp.compare(model, result.prelu.model, data).a == pytest.approx(loss, rel=1e-4)


class Block(L.Layer):
    """A rectifier between two linear layers, in a layer that is no model."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(8), L.Dense(2)

    def call(self, x):
        return self.second(ops.relu(self.first(x)))


class HoldsLayer(keras.Model):
    """A model without a `call` that holds a layer."""

    def __init__(self):
        super().__init__()
        self.block = Block(name="block")


def test_a_layer_of_a_model_without_a_call_is_converted_with_a_note_that_it_is_not_verified():
    model = HoldsLayer()
    expected = ops.convert_to_numpy(model.block(X))
    with pytest.warns(kp.errors.KerasPReLUWarning, match="could not be verified.*'block'"):
        converted = kp.convert(model)
    np.testing.assert_allclose(ops.convert_to_numpy(converted.block(X)), expected, rtol=1e-5)
