"""keras_prelu.training.slope_optimizer: slopes get their own rate and no weight decay, on every
backend."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.training.slope_optimizer import SlopeOptimizer

L = keras.layers


def network():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            L.Dense(4, name="dense"),
            kp.PReLU(0.25, name="prelu"),
            L.Dense(1, use_bias=False, name="output"),
        ]
    )
    keras.utils.set_random_seed(1)
    for variable in model.trainable_variables:
        if variable.name == "kernel":
            variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    return model


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 3)).astype("float32"), rng.normal(size=(64, 1)).astype("float32")


def trained(optimizer, epochs=1, **kwargs):
    model = network()
    model.compile(optimizer, "mse", **kwargs)
    model.fit(*data(), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return model


def weights_of(model):
    return {
        variable.path: keras.ops.convert_to_numpy(variable)
        for variable in model.trainable_variables
    }


@pytest.mark.parametrize("cls", ["SGD", "Adam", "RMSprop", "Nadam", "Lion"])
def test_multiplier_one_changes_nothing(cls):
    cls = getattr(keras.optimizers, cls)
    plain, ours = weights_of(trained(cls(0.01))), weights_of(trained(SlopeOptimizer(cls(0.01))))
    for a, b in zip(plain.values(), ours.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_first_step_of_slopes_is_multiplied_and_of_weights_not():
    def steps(optimizer):
        model = network()
        before = weights_of(model)
        model.compile(optimizer, "mse")
        x, y = data()
        model.train_on_batch(x, y)
        return [
            after - before
            for before, after in zip(before.values(), weights_of(model).values(), strict=True)
        ]

    plain, ours = (
        steps(keras.optimizers.SGD(0.01)),
        steps(SlopeOptimizer(keras.optimizers.SGD(0.01), multiplier=4.0)),
    )
    for index, (a, b) in enumerate(zip(plain, ours, strict=True)):
        np.testing.assert_allclose(b, a * (4.0 if index == 2 else 1.0), rtol=1e-3, atol=1e-7)


def test_slopes_get_no_weight_decay():
    model = network()
    model.compile(
        SlopeOptimizer(keras.optimizers.AdamW(0.1, weight_decay=0.5)),
        loss=lambda y_true, y_pred: 0.0 * keras.ops.sum(y_pred),
    )
    before = weights_of(model)
    model.fit(*data(), epochs=2, verbose=0)
    for (path, a), b in zip(before.items(), weights_of(model).values(), strict=True):
        if "prelu" in path:
            np.testing.assert_array_equal(a, b)
        elif np.any(a):
            assert np.all(np.abs(b) < np.abs(a))


def steps_of(optimizer, batches, trainable=None):
    """How far each variable moved in each batch: (batches, variables) arrays."""
    model = network()
    for layer in model.layers:
        layer.trainable = trainable is None or layer.name == trainable
    model.compile(optimizer, "mse")
    x, y = data()
    moves, before = [], weights_of(model)
    for _ in range(batches):
        model.train_on_batch(x, y)
        after = weights_of(model)
        moves.append(
            {
                path.split("/")[-2]: after[path] - before[path]
                for path in after
                if "bias" not in path
            }
        )
        before = after
    return moves


def halved_by_each_step(rate):
    return keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [rate, rate / 2, rate / 4])


def test_slopes_follow_a_schedule_also_where_only_they_are_trained():
    for trainable in (None, "prelu"):
        lion = keras.optimizers.Lion(
            halved_by_each_step(0.1)
        )  # steps of the learning rate's size, whatever the gradient
        optimizer = SlopeOptimizer(lion, multiplier=3.0)
        moves = steps_of(optimizer, 3, trainable)
        np.testing.assert_allclose(
            [np.abs(move["prelu"]).max() for move in moves], [0.3, 0.15, 0.075], rtol=1e-3
        )


def test_the_learning_rate_can_be_set():
    optimizer = SlopeOptimizer(keras.optimizers.SGD(0.1), multiplier=2.0)
    optimizer.learning_rate = 0.01
    np.testing.assert_allclose(
        float(keras.ops.convert_to_numpy(optimizer.learning_rate)), 0.01, rtol=1e-6
    )
    model = trained(SlopeOptimizer(keras.optimizers.SGD(0.1), multiplier=2.0))
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.003)
    model.fit(*data(), callbacks=[callback], verbose=0)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.optimizer.inner_optimizer.learning_rate), 0.003, rtol=1e-6
    )


def test_frozen_slopes_stay_and_then_their_rate_warms_up():
    moves = steps_of(SlopeOptimizer(keras.optimizers.Lion(0.1), frozen_steps=2, warmup_steps=3), 7)
    np.testing.assert_allclose(
        [np.abs(move["prelu"]).max() for move in moves],
        [0, 0, 0.025, 0.05, 0.075, 0.1, 0.1],
        rtol=1e-3,
    )
    np.testing.assert_allclose([np.abs(move["dense"]).max() for move in moves], 0.1, rtol=1e-3)


def test_the_first_step_after_the_freeze_is_of_ordinary_size():
    """Adam's steps are about its learning rate, whatever the gradient; moments that start from
    nothing after twenty batches would make the first one half of that."""
    moves = steps_of(SlopeOptimizer(keras.optimizers.Adam(0.01), frozen_steps=20), 21)
    assert all(not np.any(move["prelu"]) for move in moves[:20])
    assert 0.009 <= np.abs(moves[20]["prelu"]).max() <= 0.012


def test_the_gradients_of_slopes_are_clipped():
    free, clipped = (
        steps_of(SlopeOptimizer(keras.optimizers.SGD(0.1, clipvalue=10.0), clipnorm=clip), 1)[0]
        for clip in (None, 0.01)
    )
    assert np.linalg.norm(free["prelu"]) > 0.0011
    np.testing.assert_allclose(np.linalg.norm(clipped["prelu"]), 0.001, rtol=1e-3)
    np.testing.assert_array_equal(free["dense"], clipped["dense"])


def test_saved_with_its_state_training_goes_on_as_if_uninterrupted(tmp_path):
    x, y = data()
    uninterrupted = trained(
        SlopeOptimizer(keras.optimizers.Adam(0.05), multiplier=3.0, frozen_steps=6, warmup_steps=4),
        epochs=4,
    )
    halfway = trained(
        SlopeOptimizer(keras.optimizers.Adam(0.05), multiplier=3.0, frozen_steps=6, warmup_steps=4),
        epochs=2,
    )
    halfway.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.multiplier == 3.0
    loaded.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(weights_of(uninterrupted).values(), weights_of(loaded).values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_gradient_accumulation_clipping_and_averaging_pass_through():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2, clipnorm=1.0, use_ema=True)
    model = trained(SlopeOptimizer(optimizer, multiplier=2.0))
    assert all(np.all(np.isfinite(value)) for value in weights_of(model).values())


def test_without_slopes_or_without_trainable_weights():
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    model.compile(SlopeOptimizer("sgd"), "mse")
    model.fit(*data(), verbose=0)
    only_slopes = network()
    for layer in only_slopes.layers:
        layer.trainable = layer.name == "prelu"
    only_slopes.compile(SlopeOptimizer("sgd"), "mse")
    only_slopes.fit(*data(), verbose=0)


@pytest.mark.tensorflow
def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    model = trained(SlopeOptimizer(keras.optimizers.Adam(0.01)), epochs=2)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not np.allclose(
        keras.ops.convert_to_numpy(model.get_layer("prelu").alpha), 0.25, rtol=1e-6
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"multiplier": 0.0},
        {"multiplier": "2"},
        {"clipnorm": -1.0},
        {"frozen_steps": -1},
        {"warmup_steps": 1.5},
    ],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SlopeOptimizer("adam", **arguments)


def compiled(layers, optimizer):
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(optimizer, "mse")
    return model


def slope_steps(layers, optimizer):
    """Return by how much each slope and each weight of the last layer moves in one step."""
    keras.utils.set_random_seed(0)
    model = compiled(layers, optimizer)
    slopes = next(layer.beta for layer in model.layers if isinstance(layer, kp.PReLU))
    weights = model.layers[-1].kernel
    before = [keras.ops.convert_to_numpy(each).copy() for each in (slopes, weights)]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 2)).astype("float32")
    model.fit(x, y, batch_size=32, epochs=1, verbose=0)
    return [
        np.abs(keras.ops.convert_to_numpy(each) - old).max()
        for each, old in zip((slopes, weights), before, strict=True)
    ]


@pytest.mark.backends
@pytest.mark.parametrize(
    ("make", "parameterization", "normalization", "ratio"),
    [
        (lambda: keras.optimizers.Adam(1e-3), "identity", None, 10.0),
        (lambda: keras.optimizers.AdamW(1e-3), "positive", None, 10.0),
        (lambda: keras.optimizers.Adam(1e-3), "identity", "batch", 3.0),
        (lambda: keras.optimizers.Adam(1e-3), "identity", "offset", 3.0),
        (lambda: keras.optimizers.Adam(1e-3), "exp", None, 1.0),
        (lambda: keras.optimizers.RMSprop(1e-3), "identity", None, 1.0),
    ],
)
def test_the_rate_follows_optimizer_network_and_map(make, parameterization, normalization, ratio):
    """Adam's first step has the size of the learning rate, whatever the gradient."""
    kinds = {None: [], "batch": [L.BatchNormalization()]}
    kinds["offset"] = [L.BatchNormalization(scale=False)]
    layers = [
        L.Dense(8),
        *kinds[normalization],
        kp.PReLU(0.1, parameterization=parameterization),
        L.Dense(2),
    ]
    slopes, weights = slope_steps(layers, SlopeOptimizer(make()))
    assert slopes / weights == pytest.approx(ratio, rel=1e-2)


def test_slopes_are_slower_under_plain_gradient_descent():
    def steps(**settings):
        layers = [L.Dense(8), kp.PReLU(0.0, parameterization="identity"), L.Dense(2)]
        return slope_steps(
            layers, SlopeOptimizer(keras.optimizers.SGD(0.01, momentum=0.9), **settings)
        )

    np.testing.assert_array_equal(steps(), steps(multiplier=0.1))
    assert steps()[0] == pytest.approx(0.1 * steps(multiplier=1.0)[0], rel=1e-3)


def test_the_automatic_rate_is_saved_as_such_and_numbers_as_numbers():
    for multiplier in ("auto", 4.0):
        config = SlopeOptimizer("adam", multiplier).get_config()
        assert config["multiplier"] == multiplier
        assert SlopeOptimizer.from_config(config).multiplier == multiplier
    with pytest.raises(kp.errors.InvalidArgumentError, match="a positive number or 'auto'"):
        SlopeOptimizer("adam", "fast")
