"""keras_prelu.conversion.fresh_copies: networks as they were before their training."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.layers import is_slope
from tests.helpers import custom, models

L = keras.layers


def arrays(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def trained(build):
    """A network whose every weight has moved from its initial value, biases and moving statistics
    too."""
    model = models.live_in(build())
    for variable in model.trainable_variables:
        variable.assign(keras.ops.convert_to_numpy(variable) + 7.0)
    return model


@pytest.mark.backends
@pytest.mark.parametrize(
    "build", [models.mlp, models.residual, models.nested, models.siamese, models.shared_relu]
)
def test_every_weight_is_drawn_anew_and_the_original_is_unchanged(build):
    model = trained(build)
    before = arrays(model)
    fresh = fresh_copy(model)
    for one, other in zip(arrays(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
    kernels = []
    for variable in fresh.variables:
        values = keras.ops.convert_to_numpy(variable)
        if variable.path.endswith(("bias", "beta", "moving_mean")):
            np.testing.assert_array_equal(values, 0.0)
        elif variable.path.endswith(("gamma", "moving_variance")):
            np.testing.assert_array_equal(values, 1.0)
        elif variable.path.endswith("kernel"):
            # GlorotUniform, the default: uniform within √(6/(fan in + fan out)).
            window = np.prod(values.shape[:-2])
            limit = np.sqrt(6.0 / (window * (values.shape[-2] + values.shape[-1])))
            assert 0.5 * limit < np.abs(values).max() <= limit
            kernels.append(values)
    assert len(kernels) >= 2
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_weights_are_of_the_seed_alone():
    model = models.mlp()
    first, again, other = (fresh_copy(model, seed) for seed in (1, 1, 2))
    pairs = zip(arrays(first), arrays(again), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    assert not np.array_equal(arrays(first)[0], arrays(other)[0])


def test_layers_with_one_seeded_initializer_get_different_weights():
    def dense():
        return L.Dense(5, kernel_initializer=keras.initializers.HeNormal(seed=0))

    kernels = arrays(fresh_copy(keras.Sequential([keras.Input((5,)), dense(), dense()])))
    assert not np.array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize("parameterization", ["exp", "identity"])
def test_slopes_of_a_converted_model_keep_their_values(parameterization):
    model = models.with_slopes(
        kp.convert(models.residual(), parameterization=parameterization, rescale="none")
    )
    fresh = fresh_copy(model)
    pairs = list(zip(model.variables, fresh.variables, strict=True))
    slopes = [pair for pair in pairs if is_slope(pair[0])]
    assert slopes
    for pair in slopes:
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, pair))
    kernels = [pair for pair in pairs if pair[0].path.endswith("kernel")]
    assert not any(np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in kernels)


def test_recurrent_layers_start_as_keras_makes_them():
    def network():
        inputs = keras.Input((4, 3))
        return keras.Model(inputs, L.Bidirectional(L.LSTM(4, bias_initializer="zeros"))(inputs))

    expected = [v for v in network().variables if v.path.endswith("bias")]
    biases = [v for v in fresh_copy(trained(network)).variables if v.path.endswith("bias")]
    assert len(biases) == 2
    for pair in zip(biases, expected, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, pair))


def test_compile_settings_are_kept_and_no_state_of_the_optimizer():
    model = models.mlp()
    model.compile(keras.optimizers.Adam(0.02), "mse")
    model.fit(np.ones((8, 6)), np.ones((8, 3)), verbose=0)
    fresh = fresh_copy(model)
    assert float(fresh.optimizer.learning_rate) == pytest.approx(0.02)
    assert (fresh.loss, int(fresh.optimizer.iterations)) == ("mse", 0)


def test_what_can_not_be_drawn_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, custom.Scaled()(inputs), name="scaled")
    with pytest.raises(kp.errors.ConversionError, match=r"scale' of model 'scaled' can't be drawn"):
        fresh_copy(model)


@keras.saving.register_keras_serializable("fresh_copies")
class BuiltByItsCall(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = L.Dense(8), L.Dense(3)

    def call(self, inputs):
        return self.head(keras.ops.relu(self.hidden(inputs)))


def test_a_copy_of_a_model_that_its_call_builds_is_converted():
    model = BuiltByItsCall()
    model(np.zeros((1, 4), "float32"))
    assert kp.convert(fresh_copy(model)).count_params() == model.count_params() + 8
