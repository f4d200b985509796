"""Layers and variables that several parts of a model share, which a new model shares as well."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.conversion.rewriter import rewrite
from keras_prelu.errors import ConversionError
from keras_prelu.sites.prelu_layers import prelu_layers

L, ops = keras.layers, keras.ops
FEATURES, POSITIONS = 6, 3


class _Holder(L.Layer):
    """A layer that holds a layer, which others use too."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


@keras.saving.register_keras_serializable()
class Calling(_Holder):
    """Calls what it holds."""

    def call(self, x):
        return self.inner(x)


@keras.saving.register_keras_serializable()
class Transposed(_Holder):
    """Multiplies by the transposed kernel, or embeddings, of what it holds."""

    def call(self, x):
        name = "embeddings" if hasattr(self.inner, "embeddings") else "kernel"
        return ops.matmul(x, ops.transpose(getattr(self.inner, name)))


class InConfig(Transposed):
    """Writes the layer itself into its configuration."""

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class WithoutConfig(L.Layer):
    """Can be duplicated only, and holds the layer in a list and a dict."""

    def __init__(self, inner):
        super().__init__()
        self.inner = [{"first": (inner,)}]

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.inner[0]["first"][0].kernel))


def _ends_in_relu(x):
    return L.Dense(2)(L.ReLU()(L.Dense(5)(x)))


def _embedding():
    tokens = keras.Input((POSITIONS,), dtype="int32")
    embedding = L.Embedding(20, FEATURES, keras.initializers.RandomNormal(stddev=1.0))
    h = L.Dense(FEATURES, activation="relu")(embedding(tokens))
    return keras.Model(tokens, Transposed(embedding)(h))


def _on_features(apply):
    def build():
        inputs = keras.Input((POSITIONS, FEATURES))
        return keras.Model(inputs, apply(inputs))

    return build


def _dense(activation=None):
    return L.Dense(FEATURES, activation=activation)


def _decoder(holder, before=False):
    def apply(x):
        encoder = _dense("relu")
        encoder.build((None, POSITIONS, FEATURES))
        return holder(encoder)(encoder(holder(encoder)(x) if before else x))

    return _on_features(apply)


def _held_twice(first, second, make=_dense):
    def apply(x):
        layer = make()
        return _ends_in_relu(second(layer)(first(layer)(x)))

    return _on_features(apply)


def _itself(layer):
    return layer


def _sequential():
    return keras.Sequential([_dense(), L.ReLU(), _dense()])


def _recurrent(cell):
    return L.RNN(cell, return_sequences=True)


def _constant(before):
    def apply(x):
        layer = _dense("relu")
        if before:  # The constant is used before the graph calls its layer.
            layer.build((None, None, FEATURES))
            return L.Dense(2)(layer(ops.matmul(x, layer.kernel)))
        return L.Dense(2)(ops.matmul(layer(x), layer.kernel))

    return _on_features(apply)


TIED = {
    "embedding": _embedding,
    "decoder": _decoder(Transposed),
    "decoder_first": _decoder(Transposed, before=True),
    "layer_in_config": _decoder(InConfig),
    "without_config": _decoder(WithoutConfig),
    "time_distributed": _held_twice(_itself, L.TimeDistributed),
    "time_distributed_first": _held_twice(L.TimeDistributed, _itself),
    "spectral_normalization": _held_twice(_itself, L.SpectralNormalization),
    "spectral_normalization_first": _held_twice(L.SpectralNormalization, _itself),
    "two_custom": _held_twice(Calling, Calling),
    "nested": _held_twice(lambda layer: Calling(Calling(layer)), Calling),
    "sequential": _held_twice(_itself, Calling, _sequential),
    "sequential_first": _held_twice(Calling, _itself, _sequential),
    "sequential_in_custom": _held_twice(Calling, Calling, _sequential),
    "cell": _held_twice(_recurrent, _recurrent, lambda: L.GRUCell(FEATURES)),
    "bidirectional": _held_twice(
        _itself, L.Bidirectional, lambda: L.GRU(FEATURES, return_sequences=True)
    ),
    "constant": _constant(before=False),
    "constant_first": _constant(before=True),
}
LOADABLE = (
    "embedding",
    "decoder",
    "time_distributed",
    "spectral_normalization",
    "sequential",
    "bidirectional",
)
"""Those whose files Keras loads: the graph calls the shared layer first."""


def _samples(model):
    rng = np.random.default_rng(3)
    if keras.backend.is_float_dtype(model.inputs[0].dtype):
        return rng.normal(size=(16, POSITIONS, FEATURES)).astype("float32")
    return rng.integers(0, 20, (16, POSITIONS))


def _predicted(model, x):
    return np.asarray(model.predict(x, verbose=0))


def _trained(model, x):
    """Return the predictions after steps of gradient descent, with frozen slopes."""
    for _, layer in prelu_layers(model):
        layer.trainable = False
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
    targets = np.random.default_rng(5).normal(size=_predicted(model, x).shape)
    model.fit(x, targets, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return _predicted(model, x)


def _slopes(model):
    return sum(int(np.prod(layer.alpha.shape)) for _, layer in prelu_layers(model))


def _is_close(one, other):
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def _build(name):
    keras.utils.set_random_seed(7)
    return TIED[name]()


@pytest.mark.parametrize("name", TIED)
def test_a_converted_model_is_tied_as_the_original(name):
    model = _build(name)
    x = _samples(model)
    converted = kp.convert(model)
    np.testing.assert_array_equal(_predicted(converted, x), _predicted(model, x))
    slopes = _slopes(converted)
    assert slopes
    assert converted.count_params() == model.count_params() + slopes
    for copy in (kp.bake(converted), kp.convert(converted, to="relu"), rewrite(model)):
        assert copy.count_params() == model.count_params()
        assert len(copy.variables) == len(model.variables)


@pytest.mark.parametrize(
    "name", ["embedding", "decoder", "time_distributed", "two_custom", "cell", "constant"]
)
def test_a_converted_model_is_trained_as_the_original(name):
    model = _build(name)
    x = _samples(model)
    converted = kp.convert(model)
    before = _predicted(converted, x)
    trained = _trained(model, x)
    assert not np.allclose(trained, before, atol=1e-3)
    np.testing.assert_array_equal(_predicted(converted, x), before)
    _is_close(_trained(converted, x), trained)


@pytest.mark.parametrize("name", LOADABLE)
def test_a_file_keeps_the_tie(name, tmp_path):
    model = _build(name)
    converted = kp.convert(model)
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == converted.count_params()
    x = _samples(model)
    np.testing.assert_array_equal(_predicted(loaded, x), _predicted(converted, x))


@pytest.mark.parametrize("name", ["embedding", "time_distributed", "cell"])
def test_fresh_copies_are_tied(name):
    model = _build(name)
    assert fresh_copy(model, seed=2).count_params() == model.count_params()


def test_an_equalized_model_is_tied():
    model = _build("decoder")
    copy = rewrite(model)
    kp.equalize(copy)
    assert copy.count_params() == model.count_params()
    _is_close(_predicted(copy, _samples(model)), _predicted(model, _samples(model)))


def test_a_calibrated_model_is_tied():
    model = _build("embedding")
    x = _samples(model)
    converted = kp.convert(model, alpha=0.25, calibration_data=x)
    assert converted.count_params() == model.count_params() + FEATURES


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        (_itself, L.TimeDistributed, "the graph and 'holder'"),
        (Calling, Calling, "'first' and 'holder'"),
    ],
)
def test_an_activation_that_several_parts_apply_is_not_converted(first, second, parts):
    layer = L.Dense(FEATURES, activation="relu", name="shared")
    inputs = keras.Input((POSITIONS, FEATURES))
    holder = second(layer)
    holder.name = "holder"
    one = first(layer)
    one.name = "first" if one is not layer else layer.name
    outputs = _ends_in_relu(holder(one(inputs)))
    model = keras.Model(inputs, outputs)
    shared, others = [], []
    for site in kp.find_sites(model):
        (others if site.layer == "ReLU" else shared).append(site)
    assert [site.convertible for site in shared] == [False, False]
    assert shared[0].reason.startswith(f"{parts} share the layer 'shared' and its weights")
    assert [site.convertible for site in others] == [True]
    converted = kp.convert(model)
    assert converted.count_params() == model.count_params() + _slopes(converted)
    x = _samples(model)
    np.testing.assert_array_equal(_predicted(converted, x), _predicted(model, x))


def test_batch_normalization_is_not_folded_into_a_shared_layer():
    layer = _dense()
    inputs = keras.Input((POSITIONS, FEATURES))
    h = L.ReLU()(L.BatchNormalization()(layer(inputs)))
    model = keras.Model(inputs, L.TimeDistributed(layer)(h))
    baked = kp.bake(kp.convert(model), fold_batch_normalization=True)
    assert baked.count_params() == model.count_params()
    _is_close(_predicted(baked, _samples(model)), _predicted(model, _samples(model)))


@keras.saving.register_keras_serializable()
class Borrower(L.Layer):
    """Uses the variable of a layer, of which its configuration knows nothing."""

    def __init__(self, lender=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel = None if lender is None else lender.kernel

    def build(self, shape):
        if self.kernel is None:
            self.kernel = self.add_weight(shape=(FEATURES, FEATURES))

    def call(self, x):
        return ops.matmul(x, self.kernel)


def _borrowing(make):
    inputs = keras.Input((POSITIONS, FEATURES))
    layer = L.Dense(FEATURES, use_bias=False, name="lender")
    h = layer(inputs)
    return keras.Model(inputs, _ends_in_relu(make(layer)(h)))


def _lambda(layer):
    return L.Lambda(lambda x: ops.matmul(x, layer.kernel), name="function")


def _value(layer):
    return lambda x: ops.matmul(x, layer.kernel.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_lambda, "Layer 'function' .* refers to the layer 'lender' of the model"),
        (_value, "called with the value of the variable 'lender/kernel'"),
    ],
)
def test_what_reads_the_weights_of_the_original_is_refused(make, message):
    with pytest.raises(ConversionError, match=message):
        kp.convert(_borrowing(make))


def test_a_tie_that_is_lost_is_refused():
    with pytest.raises(ConversionError, match="share the variable 'lender/kernel', and would"):
        kp.convert(_borrowing(lambda layer: Borrower(layer, name="borrower")))
