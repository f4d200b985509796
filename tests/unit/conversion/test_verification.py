"""keras_prelu.conversion.verification: what a conversion must not change is noticed."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion import rewriter, to_prelu
from keras_prelu.conversion.prelu_factory import PReLUFactory
from tests.helpers import custom, models

L = keras.layers
EXACT = {"alpha": 0.0, "parameterization": "identity", "rescale": "none"}


def network():
    inputs = keras.Input((8,))
    h = L.Dense(16, activation="relu", name="first")(inputs)
    h = L.ReLU(max_value=6.0, name="capped")(L.Dense(16, name="second")(h))
    return models.live_in(keras.Model(inputs, L.Dense(3, name="head")(h), name="net"))


@keras.saving.register_keras_serializable("test_verification")
class Forgets(L.Layer):
    """A layer whose configuration lacks an argument."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {key: value for key, value in super().get_config().items() if key != "factor"}


@keras.saving.register_keras_serializable("test_verification")
class Noisy(L.Layer):
    """Random in another way whenever it is called, beyond the reach of any seed."""

    def call(self, inputs):
        return inputs + float(np.random.default_rng().normal())


@keras.saving.register_keras_serializable("test_verification")
class Sampling(L.Layer):
    """Random at inference, with a seed of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.seed)


def with_layer(layer):
    inputs = keras.Input((8,))
    h = layer(L.Dense(8, activation="relu", name="before")(inputs))
    return models.live_in(keras.Model(inputs, L.Dense(3)(L.ReLU(name="after")(h)), name="net"))


def test_the_record():
    record = kp.run_conversion(network(), **EXACT).verification
    assert (record.samples, record.drawn, record.obstacle) == (4, True, "")
    assert record.largest_difference == 0.0
    x = np.random.default_rng(0).normal(size=(64, 8))
    record = kp.run_conversion(network(), alpha=0.01, calibration_data=x).verification
    assert (record.samples, record.drawn, record.obstacle) == (4, False, "")
    assert kp.run_conversion(network(), **EXACT, verify=False).verification is None


def test_other_names_of_outputs_are_refused(monkeypatch):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, L.Dense(2, activation="relu", name="price")(inputs))
    assert kp.convert(model, **EXACT, include="*").output_names == ["price"]
    monkeypatch.setattr(rewriter, "with_output_names", lambda model, names: model)
    with pytest.raises(
        kp.errors.ConversionError, match=r"\['price_prelu'\] instead of \['price'\]"
    ):
        kp.convert(model, **EXACT, include="*")


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_a_wrong_layer_is_named_with_what_to_exclude(monkeypatch, alpha):
    make = PReLUFactory.make

    def lose_the_cap(factory, located):
        site = dataclasses.replace(located.site, max_value=None)
        return make(factory, dataclasses.replace(located, site=site))

    monkeypatch.setattr(PReLUFactory, "make", lose_the_cap)
    options = {**EXACT, "alpha": alpha}
    with pytest.raises(
        kp.errors.ConversionError,
        match=r"'capped' is the first layer that differs: its values .* Exclude 'capped'",
    ):
        kp.convert(network(), **options)
    kp.convert(network(), **options, exclude="capped")
    kp.convert(network(), **options, verify=False)


def test_a_layer_that_forgets_an_argument_is_named():
    with pytest.raises(
        kp.errors.ConversionError, match="'forgets' is the first layer that differs"
    ):
        kp.convert(with_layer(Forgets(2.0, name="forgets")), **EXACT)


def test_a_layer_that_raises_in_the_copy_is_named(monkeypatch):
    exchange = to_prelu.exchange_rectifiers

    def break_a_layer(*arguments):
        converted = exchange(*arguments)
        vars(converted.get_layer("second"))["call"] = lambda *args, **kwargs: 1 / 0
        return converted

    monkeypatch.setattr(to_prelu, "exchange_rectifiers", break_a_layer)
    with pytest.raises(kp.errors.ConversionError, match=r"'second' .* raises ZeroDivisionError"):
        kp.convert(network(), **EXACT)


def test_a_changed_model_of_two_arguments_is_refused(monkeypatch):
    exchange = to_prelu.exchange_rectifiers

    def changed(*arguments):
        converted = exchange(*arguments)
        converted.dense.bias.assign(converted.dense.bias + 1.0)
        return converted

    model = custom.TwoInputs()
    model(np.array([[1, 2], [3, 4]]), features=np.ones((2, 2, 4), "float32"))
    kp.convert(model, **EXACT, include="*")
    monkeypatch.setattr(to_prelu, "exchange_rectifiers", changed)
    with pytest.raises(kp.errors.ConversionError, match="does not compute what the original does"):
        kp.convert(model, **EXACT, include="*")


@pytest.mark.parametrize(
    "change",
    [
        lambda converted: keras.Model(converted.inputs, [converted.output, converted.output]),
        lambda converted: keras.Model(converted.inputs, {"a": converted.output}),
        lambda converted: keras.Model(
            converted.inputs, keras.ops.cast(converted.output, "float16")
        ),
        lambda converted: keras.Model(converted.inputs, converted.output[:, :2]),
        lambda converted: keras.Model(
            converted.inputs, L.ActivityRegularization(l2=1.0)(converted.output)
        ),
    ],
    ids=["number", "structure", "dtype", "shape", "loss"],
)
def test_changed_outputs_are_refused(monkeypatch, change):
    exchange = to_prelu.exchange_rectifiers

    def changed(*arguments):
        return change(exchange(*arguments))

    monkeypatch.setattr(to_prelu, "exchange_rectifiers", changed)
    with pytest.raises(kp.errors.ConversionError, match="does not compute what the original does"):
        kp.convert(network(), **EXACT)


def test_a_random_model_is_compared_with_its_seeds():
    record = kp.run_conversion(with_layer(Sampling()), **EXACT).verification
    assert record.obstacle == ""
    assert record.largest_difference == 0.0


def test_a_model_that_nothing_can_repeat_says_that_it_is_not_verified():
    with pytest.warns(kp.errors.KerasPReLUWarning, match="could not be verified"):
        record = kp.run_conversion(with_layer(Noisy()), **EXACT).verification
    assert "own predictions" in record.obstacle
    assert record.samples == 0


def _gelu(**kwargs):
    return L.Dense(8, activation="gelu", **kwargs)


@pytest.mark.parametrize(
    ("layers", "options"),
    [
        ([L.Dense(8, name="d"), L.LeakyReLU(0.3)], {}),
        ([L.Dense(8, name="d"), L.LeakyReLU(0.3)], {"keep_slopes": False}),
        ([L.Dense(8, name="d"), L.PReLU(alpha_initializer="ones")], {"keep_slopes": False}),
        ([_gelu(name="d")], {"include": "*"}),
        ([L.Dense(8, name="d"), L.ELU()], {"include": "*"}),
    ],
    ids=["kept", "overwritten", "overwritten prelu", "gelu", "elu"],
)
def test_slopes_and_smooth_activations_of_the_original_count(layers, options):
    rebuilt = [type(layer).from_config(layer.get_config()) for layer in layers]
    model = models.live_in(keras.Sequential([keras.Input((8,)), *rebuilt, L.Dense(3)]))
    record = kp.run_conversion(model, alpha=0.1, rescale="none", **options).verification
    assert record.obstacle == ""


@pytest.mark.parametrize(
    "rectify",
    [
        lambda h: keras.ops.maximum(h, 0),
        lambda h: keras.ops.clip(h, 0, 6),
        keras.ops.relu,
        L.ReLU(),
        L.Activation("relu"),
    ],
)
def test_a_rectifier_that_is_converted_on_request(rectify):
    inputs = keras.Input((8,))
    model = models.live_in(keras.Model(inputs, rectify(L.Dense(8)(inputs))))
    record = kp.run_conversion(model, **EXACT, include="*").verification
    assert record.obstacle == ""


def _half():
    return keras.Sequential(
        [keras.Input((8,)), L.Dense(8, activation="relu", dtype="mixed_float16"), L.Dense(3)]
    )


def _nan():
    inputs = keras.Input((8,))
    return keras.Model(inputs, keras.ops.log(L.Dense(3)(L.Dense(8, activation="relu")(inputs))))


@pytest.mark.parametrize("build", [_half, _nan])
def test_nan_and_half_precision_are_no_difference(build):
    record = kp.run_conversion(models.live_in(build()), **EXACT).verification
    assert record.obstacle == ""


def test_calibration_of_a_model_whose_layers_depend_on_each_other_is_refused(monkeypatch):
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")

    class Remembers(L.Layer):
        """Scales by a number that `Model.call` alone sets."""

        def call(self, inputs):
            return inputs * scale[0]

    scale = [1.0]
    inputs = keras.Input((8,))
    h = Remembers()(L.Dense(8, activation="relu")(inputs))

    class Scaling(keras.Model):
        def __call__(self, *args, **kwargs):
            scale[0] = 3.0
            try:
                return super().__call__(*args, **kwargs)
            finally:
                scale[0] = 1.0

    model = Scaling(inputs, L.Dense(3)(h))
    with pytest.raises(kp.errors.CalibrationError, match="layers compute one by one"):
        kp.convert(model, calibration_data=x)


def test_a_large_error_names_the_layers():
    inputs = keras.Input((8,))
    h = L.Dense(2, activation="relu", name="narrow")(inputs)
    h = L.Dense(2, activation="relu", name="narrower")(h)
    model = models.live_in(keras.Model(inputs, L.Dense(3, name="head")(h)))
    x = np.random.default_rng(0).normal(size=(300, 8))
    with pytest.warns(kp.errors.KerasPReLUWarning, match=r"'(narrower|head)' .* Smaller slopes"):
        kp.convert(model, alpha=1.0, calibration_data=x)


class ThroughNumPy(L.Layer):
    """Computes in NumPy, as it can where no gradient is recorded."""

    def call(self, inputs):
        return keras.ops.convert_to_tensor(np.asarray(inputs) * 2.0)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


def test_models_are_called_without_recording_gradients():
    inputs = keras.Input((4,))
    hidden = L.Dense(2)(ThroughNumPy()(L.Dense(4, "tanh")(inputs)))
    model = keras.Model(inputs, L.Dense(2)(L.Dense(4, "relu")(hidden)))
    conversion = kp.run_conversion(model, alpha=0.0, parameterization="identity", rescale="none")
    assert conversion.verification.samples > 0
