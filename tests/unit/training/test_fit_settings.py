"""Settings of a training beyond epochs and rate: schedule, patience, class weights, augmentation,
mixed precision."""

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

import keras_prelu as kp
from keras_prelu.data.samples import Samples
from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.training.augmentation import Augmentation
from keras_prelu.training.class_weights import class_weights
from keras_prelu.training.data_order import ShuffledBatches
from keras_prelu.training.learning_rate_schedules import set_schedule
from keras_prelu.training.precision import compute_in

L = keras.layers


def classifier():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dense(3, "softmax")])
    model.compile(loss="sparse_categorical_crossentropy")
    return model


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype("float32")
    y = (x[:, 0] > 0.5).astype("int32") + (x[:, 1] > 0).astype("int32")
    return x, y


def rate_of(optimizer):
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


class _RateAtEnd(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        self.rate = rate_of(self.model.optimizer)


def tune(samples, model=None, **settings):
    settings = {"epochs": 2, "recipe": "relu", "control": False, **settings}
    return kp.finetune(model or classifier(), samples, samples, **settings)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("constant", [0.1, 0.1, 0.1]),
        ("linear", [0.1, 0.05, 0.0]),
        ("cosine", [0.1, 0.05, 0.0]),
        # It rises for a twentieth of the steps, 5, and decays in the other 95.
        ("warmup-cosine", [0.0, 0.1 * (1 + np.cos(np.pi * 45 / 95)) / 2, 0.0]),
        (
            lambda rate, steps: keras.optimizers.schedules.CosineDecay(rate, 2 * steps),
            [0.1, 0.0854, 0.05],
        ),
        (lambda rate, steps: rate / 2, [0.05, 0.05, 0.05]),
    ],
)
def test_schedules(name, rates):
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([keras.Variable(1.0)])
    set_schedule(optimizer, name, 100)
    reached = []
    for step in (0, 50, 100):
        optimizer.iterations.assign(step)
        reached.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    np.testing.assert_allclose(reached, rates, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "rate", "keeps_state"),
    [
        ({}, 1e-3, False),
        ({"learning_rate": 0.01}, 0.01, False),
        ({"optimizer": "sgd", "schedule": "linear"}, 0.01, False),
        ({"optimizer": "adam"}, 1e-3, True),
        ({"optimizer": "adam", "schedule": "constant"}, 1e-3, True),
        ({"schedule": lambda rate, steps: rate / 2}, 5e-4, True),
        ({"mixed_precision": "float16"}, 1e-3, False),
    ],
)
def test_what_was_fine_tuned_goes_on_at_the_first_rate(samples, settings, rate, keeps_state):
    options = {"recipe": "identity", "slope_warmup_epochs": 1, **settings}
    model = tune(samples, **options).model
    assert rate_of(model.optimizer) == pytest.approx(rate)
    assert (int(keras.ops.convert_to_numpy(model.optimizer.iterations)) > 0) == keeps_state
    before = [keras.ops.convert_to_numpy(each) for each in model.trainable_variables]
    history = model.fit(*samples, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.any(keras.ops.convert_to_numpy(variable) != old), variable.path


@pytest.mark.parametrize("precision", [None, "float16"])
def test_a_file_of_what_was_fine_tuned_goes_on(samples, tmp_path, precision):
    tuned = tune(samples, recipe="identity", mixed_precision=precision).model
    kp.save_model(tuned, tmp_path / "tuned.keras")
    model = kp.load_model(tmp_path / "tuned.keras")
    assert type(model.optimizer) is type(tuned.optimizer)
    assert rate_of(model.optimizer) == pytest.approx(1e-3)
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 0
    loss = model.evaluate(*samples, verbose=0)
    model.fit(*samples, epochs=3, verbose=0)
    assert model.evaluate(*samples, verbose=0) < loss


def test_the_users_schedule_stays(samples):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.001])
    model = tune(samples, optimizer=keras.optimizers.SGD(schedule)).model
    assert rate_of(model.optimizer) == pytest.approx(0.001)


def test_moving_averages_of_weights_go_on(samples):
    """On JAX, Keras lets the weights share their memory."""
    model = classifier()
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5)
    options = {"original": model, "recipe": "auto", "control": True, "optimizer": optimizer}
    result = tune(samples, kp.convert(model), **options)
    for each in (result.model, result.control.model):
        loss = each.evaluate(*samples, verbose=0)
        each.fit(*samples, epochs=2, verbose=0)
        assert each.evaluate(*samples, verbose=0) < loss


def decay(rate):
    return keras.optimizers.schedules.CosineDecay(rate, 4)


def several(rate):
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(
            keras.optimizers.SGD(rate), {".*kernel": keras.optimizers.Adam(rate)}
        )
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: {
            "optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(decay(0.1)))
        },
        lambda: {"optimizer": several(decay(0.1))},
        lambda: {
            "schedule": "constant",
            "callbacks": [keras.callbacks.LearningRateScheduler(lambda epoch: [0.1, 0.0][epoch])],
        },
    ],
)
def test_what_the_user_brought_to_a_rate_of_0_begins_anew(samples, make):
    model = tune(samples, recipe="identity", **make()).model
    history = model.fit(*samples, epochs=2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_a_named_optimizer_gets_a_schedule(samples):
    at_end = _RateAtEnd()
    tune(samples, optimizer="sgd", schedule="linear", callbacks=lambda: [at_end])
    assert at_end.rate == pytest.approx(0.0, abs=1e-7)
    assert tune(samples, optimizer="sgd").model.optimizer.get_config()["learning_rate"] == (
        pytest.approx(0.01)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, "`schedule` must be one of 'constant', 'cosine'"),
        ({"schedule": lambda rate, steps: "fast"}, "must return a keras.optimizers.schedules"),
        ({"patience": 0}, "patience=0"),
        ({"class_weight": "even"}, "`class_weight` must be 'balanced'"),
        ({"class_weight": {0: -1.0}}, "`class_weight` must be 'balanced'"),
        ({"class_weight": {0: 1.0}}, "no weight for class 1"),
        ({"augment": L.RandomFlip}, "`augment` must be a Keras layer"),
        ({"mixed_precision": "int8"}, "`mixed_precision` must be 'bfloat16' or 'float16'"),
        (
            {
                "optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)),
                "schedule": "cosine",
            },
            "has a schedule of its own",
        ),
        ({"optimizer": several(0.1), "schedule": "linear"}, "has no learning rate of its own"),
    ],
)
def test_refused_settings(samples, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        tune(samples, **settings)


@pytest.mark.parametrize("recipe", ["relu", "auto"])
def test_settings_that_need_samples_are_refused_before_any_training(samples, recipe, monkeypatch):
    def train(*args, **kwargs):
        raise AssertionError("a model was trained")

    monkeypatch.setattr(keras.Model, "fit", train)
    stream = ShuffledBatches(Samples(*samples), 16, seed=0)
    for settings in ({"augment": lambda x: x}, {"class_weight": "balanced"}):
        with pytest.raises(InvalidArgumentError, match="stream"):
            kp.finetune(
                classifier(),
                stream,
                samples,
                recipe=recipe,
                selection=samples,
                epochs=1,
                **settings,
            )


def tune_on_wrong_labels(samples, **settings):
    """What is learned from them makes the selection loss rise from the first epoch on."""
    return kp.finetune(
        classifier(),
        (samples[0], np.zeros(60, "int32")),
        samples,
        selection=samples,
        recipe="relu",
        control=False,
        optimizer=keras.optimizers.SGD(0.5),
        epochs=9,
        patience=2,
        **settings,
    )


def test_patience_stops_each_training_after_its_best_epoch(samples):
    rise = tune_on_wrong_labels(samples)
    assert len(rise.prelu.history["loss"]) == 3
    assert np.argmin(rise.prelu.history["val_loss"]) == 0
    assert len(tune(samples, epochs=4, patience=3).prelu.history["loss"]) == 4


def test_a_stopped_training_is_not_continued_from_its_checkpoint(samples, tmp_path):
    first, again = (tune_on_wrong_labels(samples, checkpoints=tmp_path) for _ in range(2))
    assert again.prelu.history == first.prelu.history
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", ["numbers", "column", "one-hot"])
def test_balanced_weights_are_those_of_scikit_learn(shape):
    y = np.array([0] * 7 + [1] * 2 + [3])
    weights = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=y)
    labels = {"numbers": y, "column": y[:, None], "one-hot": np.eye(4)[y]}[shape]
    found = class_weights("balanced", Samples(np.zeros((10, 1)), labels))
    assert found == pytest.approx(dict(zip([0, 1, 3], weights, strict=True)))


def test_class_weights_weigh_the_training_loss(samples):
    one_step = {"epochs": 1, "batch_size": 60, "optimizer": keras.optimizers.SGD(0.0)}
    history = tune(samples, class_weight={0: 0.0, 1: 5.0, 2: 0.0}, **one_step).prelu.history
    model, (x, y) = classifier(), samples
    # A fifth is held back for the choice of the epoch, so the samples are those that were trained.
    from keras_prelu.data.dataset import split

    train, _ = split(Samples(x, y), 0.2, 0)
    losses = -np.log(model.predict(train.x, verbose=0)[np.arange(len(train)), train.y])
    expected = np.mean(losses * np.where(train.y == 1, 5.0, 0.0))
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_augmentation_depends_on_seed_epoch_and_batch_alone():
    x = np.random.default_rng(0).normal(size=(8, 4, 4, 1)).astype("float32")
    layer = keras.Sequential([L.RandomFlip(seed=3), L.RandomTranslation(0.3, 0.3, seed=3)])
    augmentation = Augmentation(layer, seed=1)
    first = augmentation(x, 0, 0)
    assert first.dtype == x.dtype
    assert first.shape == x.shape
    assert not np.array_equal(augmentation(x, 0, 1), first)
    assert not np.array_equal(augmentation(x, 1, 0), first)
    assert not np.array_equal(Augmentation(layer, seed=2)(x, 0, 0), first)
    np.testing.assert_array_equal(augmentation(x, 0, 0), first)


def noise(x, rng):
    return x + rng.normal(size=x.shape)


def test_every_model_sees_the_same_augmented_batches(samples):
    seen = []

    def augment(x, rng):
        seen.append(noise(x, rng))
        return seen[-1]

    tune(samples, augment=augment, recipe="identity", control=True, batch_size=16)
    # Two models, two epochs of three batches. Keras reads the first batch of a training twice.
    assert len(seen) >= 12
    assert len({batch.tobytes() for batch in seen}) == 6


@pytest.mark.parametrize("function", [np.flip, lambda x, scale=0.1: x * scale, np.negative])
def test_an_optional_second_argument_keeps_its_default(samples, function):
    x = samples[0]
    np.testing.assert_array_equal(Augmentation(function, 0)(x, 0, 0), function(x))


@pytest.mark.parametrize(
    ("augment", "message"),
    [(lambda x: x[:, :3], "must keep the shapes"), (lambda x: 1 / 0, "failed")],
)
def test_what_an_augmentation_must_not_do(samples, augment, message):
    with pytest.raises(DataError, match=message):
        Augmentation(augment, 0)(samples[0], 0, 0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(samples, precision):
    result = tune(samples, mixed_precision=precision, recipe="identity")
    policies = [layer.dtype_policy.name for layer in result.model.layers]
    assert policies[0] == f"mixed_{precision}"
    assert policies[-1] == "float32"
    assert {str(weight.dtype) for weight in result.model.weights} == {"float32"}
    assert isinstance(result.model.optimizer, keras.optimizers.LossScaleOptimizer) == (
        precision == "float16"
    )
    assert np.isfinite(result.prelu.history["loss"]).all()


def backbone():
    return keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dense(8, "relu")])


def head():
    return keras.Sequential([keras.Input((8,)), L.Dense(8, "relu"), L.Dense(3, "softmax")])


def dense_layers(layer):
    if isinstance(layer, L.Dense):
        return [layer]
    inner = [layer.dense] if isinstance(layer, Wrapped) else getattr(layer, "layers", [])
    return [dense for each in inner for dense in dense_layers(each)]


class Wrapped(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(x)


@pytest.mark.parametrize(
    ("last", "policies"),
    [
        (head, ["mixed_bfloat16", "float32"]),
        (lambda: keras.Sequential([keras.Input((8,)), head()]), ["mixed_bfloat16", "float32"]),
        (Wrapped, ["float32"]),
    ],
)
def test_outputs_of_nested_models_stay_in_float32_under_mixed_precision(last, policies):
    model = keras.Sequential([keras.Input((6,)), backbone(), last()])
    compute_in(model, "bfloat16")
    found = [each.dtype_policy.name for each in dense_layers(model)]
    assert found == ["mixed_bfloat16"] * 2 + policies
    outputs = model(np.ones((2, 6), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
