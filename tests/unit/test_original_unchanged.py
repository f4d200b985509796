"""Public functions leave the models that they get as they were, bit for bit."""

import contextlib

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.backend.keras_internals import recurrent_states
from keras_prelu.data.samples import Samples
from keras_prelu.diagnostics.evaluation import evaluate
from tests.helpers import models
from tests.helpers.marks import slow_except

L = keras.layers
BATCH = 4
X = np.random.default_rng(0).normal(size=(24, 5, 6)).astype("float32")
Y = np.random.default_rng(1).integers(3, size=24)


@keras.saving.register_keras_serializable("test_original_unchanged")
class Counting(L.Layer):
    """Counts its calls, and adds noise whether or not it is called in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.noise = keras.random.SeedGenerator(3)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
        self.mean = keras.metrics.Mean(name="mean_of_inputs")

    def call(self, inputs):
        self.calls.assign_add(1.0)
        if keras.backend.backend() != "jax":  # There Keras does not compile it.
            self.mean.update_state(inputs)
        return inputs + 0.01 * keras.random.normal(keras.ops.shape(inputs), seed=self.noise)


def hard(*, stateful):
    """A network with all kinds of state, in use."""
    inputs = keras.Input((5, 6), batch_size=BATCH if stateful else None)
    h = L.LSTM(7, stateful=stateful, return_sequences=True, name="lstm")(inputs)
    h = L.Dense(8, activation="relu", activity_regularizer="l2", name="first")(h)
    h = L.BatchNormalization(name="pinned")(h, training=True)
    h = L.Dropout(0.5, seed=5, name="dropout")(h, training=True)
    h = L.SpectralNormalization(L.Dense(8, activation="relu"), name="spectral")(h, training=True)
    h = Counting(name="counting")(h)
    h = L.ReLU(name="relu")(L.Dense(8, kernel_regularizer="l2", name="second")(h))
    h = L.GlobalAveragePooling1D()(h)
    model = keras.Model(inputs, L.Dense(3, activation="softmax", name="head")(h))
    model = models.live_in(model)
    model.get_layer("second").trainable = False
    model.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    model.evaluate(X, Y, batch_size=BATCH, verbose=0)
    for layer in model.layers:
        layer._losses.clear()  # Those of `evaluate` are tensors of a graph on some backends.
    model(X[:BATCH])
    return model


def state_of(model):
    variables = {
        f"{index} {variable.path}": variable
        for index, variable in enumerate(
            [
                *model.variables,
                *model.optimizer.variables,
                *model.metrics_variables,
                *(state for layer in model.layers for state in recurrent_states(layer)),
                *model.get_layer("counting").mean.variables,
            ]
        )
    }
    return {
        "values": {
            name: np.array(keras.ops.convert_to_numpy(variable)).tobytes()
            for name, variable in variables.items()
        },
        "trainable": [layer.trainable for layer in model.layers],
        "compiled": str(model.get_compile_config()),
        "losses": [
            float(keras.ops.convert_to_numpy(loss)) if keras.ops.is_tensor(loss) else loss
            for loss in _eager_losses(model)
        ],
        "nodes": [len(layer._inbound_nodes) for layer in model.layers],
        "configuration": str(model.get_config()),
    }


def _eager_losses(model):
    """Return the activity losses of the last eager call."""
    return list(model.get_layer("first")._losses)


@pytest.fixture(scope="module")
def stateful():
    return hard(stateful=True)


@pytest.fixture(scope="module")
def stateless():
    return hard(stateful=False)


LABELLED = Samples(X, Y)


def _export(model, folder):
    with contextlib.suppress(kp.errors.ExportError):  # The file needs the class of this module.
        kp.export(model, folder / "out.keras", "keras")


CALLS = {
    "find_sites": lambda model, folder: kp.find_sites(model),
    "convert": lambda model, folder: kp.convert(model, alpha=0.01, rescale="none"),
    "convert by moments": lambda model, folder: kp.convert(model, alpha=0.01, rescale="moments"),
    "convert and calibrate": lambda model, folder: kp.convert(
        model, alpha=0.01, calibration_data=X
    ),
    "convert by search": lambda model, folder: kp.convert(
        model, alpha="auto", tolerance=0.5, calibration_data=X
    ),
    "calibrate": lambda model, folder: kp.calibrate(
        kp.convert(model, alpha=0.01, rescale="none"), model, X
    ),
    "find_slopes": lambda model, folder: kp.find_slopes(
        kp.convert(model, alpha=0.01, rescale="none"), model, X, tolerance=0.5
    ),
    "bake": lambda model, folder: kp.bake(model),
    "bake and fold": lambda model, folder: kp.bake(model, fold_batch_normalization=True),
    "save": lambda model, folder: kp.save_model(model, folder / "model.keras"),
    "export": _export,
    "compare": lambda model, folder: kp.compare(model, model, LABELLED),
    "evaluate": lambda model, folder: evaluate(model, LABELLED, batch_size=BATCH),
    "dead units": lambda model, folder: kp.diagnostics.dead_units(model, X),
    "diagnose": lambda model, folder: kp.diagnostics.diagnose(model, LABELLED, batch_size=BATCH),
    "signal": lambda model, folder: kp.diagnostics.signal_by_depth(model, X, batch_size=BATCH),
    "similarity": lambda model, folder: kp.diagnostics.layer_similarity(model, model, X),
    "channel scales": lambda model, folder: kp.diagnostics.channel_scales(model),
    "batch norm": lambda model, folder: kp.diagnostics.batch_norm_gammas(model, X),
}


def _assert_as_before(model, call):
    before = state_of(model)
    call()
    after = state_of(model)
    for aspect, value in before.items():
        assert after[aspect] == value, aspect


@pytest.mark.filterwarnings("ignore::keras_prelu.errors.KerasPReLUWarning")
@pytest.mark.parametrize(
    "name", slow_except(set(CALLS) - {"export"}, {name: name for name in CALLS})
)
def test_the_model_is_as_before(name, stateless, tmp_path):
    _assert_as_before(stateless, lambda: CALLS[name](stateless, tmp_path))


@pytest.mark.skipif(
    keras.backend.backend() == "jax",
    reason="Keras keeps no states there, and loses all variables if `predict` raises an error.",
)
@pytest.mark.filterwarnings("ignore::keras_prelu.errors.KerasPReLUWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_stateful_model_is_as_before_also_after_an_error(name, stateful, tmp_path):
    def call():
        # Some functions call the model with other batches than those of its fixed size.
        with contextlib.suppress(Exception):
            CALLS[name](stateful, tmp_path)

    _assert_as_before(stateful, call)


@pytest.mark.filterwarnings("ignore::keras_prelu.errors.KerasPReLUWarning")
def test_a_model_that_is_fine_tuned_is_as_before(stateless):
    _assert_as_before(
        stateless,
        lambda: kp.finetune(
            stateless, LABELLED, LABELLED, recipe="identity", epochs=1, batch_size=BATCH, seed=0
        ),
    )


@pytest.mark.filterwarnings("ignore::keras_prelu.errors.KerasPReLUWarning")
def test_a_callback_leaves_the_state_that_training_left(tmp_path):
    states = []

    class Notes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            counting = self.model.get_layer("counting")
            states.append(float(keras.ops.convert_to_numpy(counting.calls)))

    model = hard(stateful=False)
    monitor = kp.callbacks.SlopeMonitor(csv_file=tmp_path / "slopes.csv", samples=X)
    converted = kp.convert(model, alpha=0.01, rescale="none")
    converted.fit(X, Y, batch_size=BATCH, verbose=0, callbacks=[Notes(), monitor, Notes()])
    assert states[0] == states[1]
