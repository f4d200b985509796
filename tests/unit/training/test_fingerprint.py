"""keras_prelu.training.fingerprint: whatever changes the trained weights changes the fingerprint."""

import keras
import numpy as np
import pytest

from keras_prelu.data.samples import as_samples
from keras_prelu.training.config import FitConfig, SlopeConfig
from keras_prelu.training.fingerprint import fingerprint
from keras_prelu.training.setup import TrainingSetup

L = keras.layers
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


class Scaled(L.Dense):
    """A layer whose code is not in its configuration."""

    factor = 2.0

    def call(self, inputs):
        return self.factor * super().call(inputs)


class InAList(L.Dense):
    """A layer that holds functions which its configuration does not describe."""

    function = staticmethod(lambda x: x)

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.functions = [{"f": type(self).function}]


class Batches(keras.utils.PyDataset):
    def __init__(self, scale=1.0, random=False):
        super().__init__()
        self.scale, self.random = scale, random

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = np.random.permutation(24)[:8] if self.random else slice(8 * index, 8 * index + 8)
        return self.scale * X[rows], Y[rows]


def network(activation="relu", rate=0.1, compile=None, freeze=False, policy=None, layer=L.Dense):
    keras.utils.set_random_seed(0)
    i = keras.Input((4,))
    h = layer(5, activation=activation, dtype=policy)(i)
    model = keras.Model(i, L.Dense(1)(L.Dropout(rate)(h)))
    model.layers[1].trainable = not freeze
    model.compile(**{"optimizer": "sgd", "loss": "mse", **(compile or {})})
    return model


def setup(train=(X, Y), selection=(X[:8], Y[:8]), fit=None, slopes=None):
    is_stream = not isinstance(train, tuple)
    return TrainingSetup(
        train=train if is_stream else as_samples(train),
        selection=None if selection is None else as_samples(selection),
        fit=FitConfig(**fit or {}),
        slopes=SlopeConfig(**slopes or {}),
    )


def key(model=None, validation=(X[:6], Y[:6]), others=(), **options):
    model = network() if model is None else model
    return fingerprint([model], setup(**options), as_samples(validation), others)


def scaled_loss(scale):
    return lambda y_true, y_pred: scale * keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


def schedule(scale):
    return keras.callbacks.LearningRateScheduler(lambda epoch, rate: scale * rate)


DIFFERENT = {
    "weights": lambda: {"model": keras.models.clone_model(network())},
    "activation": lambda: {"model": network(activation="tanh")},
    "a function as activation": lambda: {"model": network(activation=lambda x: x)},
    "a rate": lambda: {"model": network(rate=0.2)},
    "a layer's code": lambda: {"model": network(layer=Scaled)},
    "trainable": lambda: {"model": network(freeze=True)},
    "policy": lambda: {"model": network(policy="mixed_bfloat16")},
    "compiled loss": lambda: {"model": network(compile={"loss": "mae"})},
    "loss function": lambda: {"model": network(compile={"loss": scaled_loss(1.0)})},
    "loss weights": lambda: {"model": network(compile={"loss_weights": 0.5})},
    "compiled metric": lambda: {"model": network(compile={"metrics": ["mae"]})},
    "steps per execution": lambda: {"model": network(compile={"steps_per_execution": 2})},
    "given loss": lambda: {"fit": {"loss": "mae"}},
    "epochs": lambda: {"fit": {"epochs": 3}},
    "batch size": lambda: {"fit": {"batch_size": 8}},
    "seed": lambda: {"fit": {"seed": 1}},
    "learning rate": lambda: {"fit": {"learning_rate": 1e-4}},
    "optimizer": lambda: {"fit": {"optimizer": "sgd"}},
    "optimizer's options": lambda: {"fit": {"optimizer": keras.optimizers.SGD(0.1, 0.9)}},
    "metrics": lambda: {"fit": {"metrics": ["mae"]}},
    "early stopping": lambda: {"fit": {"callbacks": [keras.callbacks.EarlyStopping()]}},
    "schedule of a callback": lambda: {"fit": {"callbacks": [schedule(0.5)]}},
    "slopes": lambda: {"slopes": {"multiplier": 3.0}},
    "samples": lambda: {"train": (X[::-1], Y)},
    "labels": lambda: {"train": (X, 2 * Y)},
    "fewer samples": lambda: {"train": (X[:23], Y[:23])},
    "selection": lambda: {"selection": (X[:9], Y[:9])},
    "no selection": lambda: {"selection": None},
    "stream": lambda: {"train": Batches()},
    "recipe": lambda: {"others": ("exp", 3.0)},
}


@pytest.mark.parametrize("name", list(DIFFERENT))
def test_what_changes_a_training_changes_the_fingerprint(name):
    assert key() == key()
    assert key(**DIFFERENT[name]()) != key()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"loss": scaled_loss(1.0)}, {"loss": scaled_loss(2.0)}),
        ({"loss": [scaled_loss(1.0)]}, {"loss": [scaled_loss(2.0)]}),
    ],
)
def test_closures_count(first, other):
    assert key(network(compile=first)) == key(network(compile=first))
    assert key(network(compile=first)) != key(network(compile=other))


def test_code_of_layers_counts(monkeypatch):
    before = key(network(layer=Scaled))
    monkeypatch.setattr(Scaled, "factor", 3.0)
    assert key(network(layer=Scaled)) != before


def test_functions_in_lists_and_dicts_count(monkeypatch):
    before = key(network(layer=InAList))
    assert key(network(layer=InAList)) == before
    monkeypatch.setattr(InAList, "function", staticmethod(lambda x: 2 * x))
    model = network(layer=InAList)
    monkeypatch.undo()  # The class is as before, and only what the layer holds differs.
    assert key(model) != before


class OfUser:
    """An object with an empty configuration, which describes neither its code nor its attributes."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, value):
        return self.factor * keras.ops.sum(value)

    def get_config(self):
        return {}


class RegularizerOfUser(OfUser, keras.Regularizer):
    pass


class ConstraintOfUser(OfUser, keras.constraints.Constraint):
    pass


class ScheduleOfUser(OfUser, keras.optimizers.schedules.LearningRateSchedule):
    pass


class ScheduleWithoutConfiguration(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, step):
        return self.factor


def doubled(self, value):
    return 2 * self.factor * keras.ops.sum(value)


@pytest.mark.parametrize(
    ("kind", "key_of"),
    [
        (RegularizerOfUser, lambda o: key(network(layer=with_arguments(kernel_regularizer=o)))),
        (RegularizerOfUser, lambda o: key(network(layer=with_arguments(activity_regularizer=o)))),
        (ConstraintOfUser, lambda o: key(network(layer=with_arguments(bias_constraint=o)))),
        (ScheduleOfUser, lambda o: key(fit={"optimizer": keras.optimizers.SGD(o)})),
        (
            ScheduleOfUser,
            lambda o: key(
                fit={"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(o))}
            ),
        ),
        (ScheduleOfUser, lambda o: key(fit={"optimizer": by_pattern(keras.optimizers.SGD(o))})),
        (ScheduleWithoutConfiguration, lambda o: key(fit={"optimizer": keras.optimizers.SGD(o)})),
        (
            ScheduleWithoutConfiguration,
            lambda o: key(
                fit={"optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(o))}
            ),
        ),
        (
            ScheduleWithoutConfiguration,
            lambda o: key(fit={"optimizer": by_pattern(keras.optimizers.SGD(o))}),
        ),
    ],
)
def test_code_and_attributes_of_the_users_objects_count(kind, key_of, monkeypatch):
    before = key_of(kind(0.1))
    assert key_of(kind(0.1)) == before
    assert key_of(kind(0.2)) != before
    monkeypatch.setattr(kind, "__call__", doubled)
    assert key_of(kind(0.1)) != before


def by_pattern(optimizer):
    """An optimizer for some variables, and Adam for the others."""
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.Adam(), {"dense.*": optimizer})
    return keras.optimizers.MultiOptimizer(optimizers)


def with_arguments(**arguments):
    return lambda units, **others: L.Dense(units, **others, **arguments)


def test_streams():
    assert key(train=Batches()) == key(train=Batches())
    assert key(train=Batches()) != key(train=Batches(scale=2.0))
    # The order of a shuffled stream differs at each reading, which must not refuse a continuation.
    assert key(train=Batches(random=True)) == key(train=Batches(random=True))


def test_the_validation_samples_count_only_if_they_are_watched():
    other = (X[:7], Y[:7])
    assert key() == key(validation=other)
    assert key(selection=None) != key(selection=None, validation=other)


def test_callbacks_that_only_watch_do_not_count():
    assert key(fit={"callbacks": [keras.callbacks.TerminateOnNaN()]}) == key()
    calls = []
    # A function that makes callbacks is called once for each training, and not for the fingerprint.
    assert key(fit={"callbacks": lambda: calls.append(1) or []}) == key()
    assert calls == []
