"""The user's optimizer does in `finetune` what it does in `fit`: every optimizer of Keras, and every
argument of its constructor, against stock training with the same batches, bit for bit."""

import functools
import inspect

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.errors import InvalidArgumentError
from keras_prelu.layers import is_slope
from keras_prelu.training.slope_optimizer import SlopeOptimizer

L, Opt = keras.layers, keras.optimizers

SEED, SAMPLES, BATCH = 3, 24, 4


def network():
    inputs = keras.Input((5,))
    hidden = L.Dense(6, activation="relu", name="hidden")(inputs)
    hidden = L.Dense(4, name="second")(hidden)
    outputs = L.Dense(1, name="output")(L.ReLU(name="act")(hidden))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weights.shape) for weights in model.get_weights()])
    model.compile("sgd", "mse")
    return model


@functools.cache
def relu_model():
    return network()


@functools.cache
def converted_model():
    return kp.convert(relu_model(), alpha=0.2, rescale="none")


RNG = np.random.default_rng(0)
TRAIN = (RNG.normal(size=(SAMPLES, 5)).astype("float32"), RNG.normal(size=(SAMPLES, 1)))
VALIDATION = (RNG.normal(size=(8, 5)).astype("float32"), RNG.normal(size=(8, 1)))


class Own(Opt.Optimizer):
    """Gradient descent on a power of the gradient, an argument that `get_config` leaves out."""

    def __init__(self, learning_rate=0.01, power=1.0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.power = power

    def update_step(self, gradient, variable, learning_rate):
        rate = keras.ops.cast(learning_rate, variable.dtype)
        size = keras.ops.power(keras.ops.abs(gradient), self.power)
        self.assign_sub(variable, rate * keras.ops.sign(gradient) * size)


class OwnSchedule(Opt.schedules.LearningRateSchedule):
    """A schedule that is not registered and has no configuration."""

    def __call__(self, step):
        return 0.02 / (1.0 + keras.ops.cast(step, "float32"))


def rate():
    return 0.007


NAMES = [
    "SGD",
    "RMSprop",
    "Adam",
    "AdamW",
    "Adadelta",
    "Adagrad",
    "Adamax",
    "Adafactor",
    "Nadam",
    "Ftrl",
    "Lion",
    "Lamb",
    "Muon",
    "ScheduleFreeAdamW",
]
COMMON = {
    "plain": {},
    "weight decay": {"weight_decay": 0.3},
    "clipnorm": {"clipnorm": 0.1},
    "clipvalue": {"clipvalue": 0.05},
    "global_clipnorm": {"global_clipnorm": 0.2},
    "averages": {"use_ema": True, "ema_momentum": 0.6},
    "averages written": {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 3},
    "scaled loss": {"loss_scale_factor": 8.0},
    "accumulated": {"gradient_accumulation_steps": 2},
    "accumulated, clipped": {"gradient_accumulation_steps": 3, "global_clipnorm": 0.2},
    "together": {
        "weight_decay": 0.3,
        "global_clipnorm": 0.2,
        "use_ema": True,
        "ema_momentum": 0.6,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 2,
    },
    "schedule": {"learning_rate": Opt.schedules.ExponentialDecay(0.05, 2, 0.5)},
    "own schedule": {"learning_rate": OwnSchedule()},
    "function": {"learning_rate": rate},
}
# Values other than the defaults of the arguments that only some constructors have.
OTHERS = {
    "momentum": 0.7,
    "nesterov": True,
    "amsgrad": True,
    "centered": True,
    "rho": 0.7,
    "beta_1": 0.7,
    "beta_2": 0.8,
    "epsilon": 1e-2,
    "initial_accumulator_value": 0.3,
    "beta_2_decay": -0.5,
    "epsilon_1": 1e-2,
    "epsilon_2": 1e-1,
    "clip_threshold": 0.5,
    "relative_step": False,
    "learning_rate_power": -0.7,
    "l1_regularization_strength": 0.01,
    "l2_regularization_strength": 0.01,
    "l2_shrinkage_regularization_strength": 0.01,
    "beta": 0.5,
    "adam_beta_1": 0.7,
    "adam_beta_2": 0.8,
    "adam_weight_decay": 0.2,
    "exclude_layers": ["second"],
    "exclude_embeddings": False,
    "muon_a": 3.0,
    "muon_b": -4.6,
    "muon_c": 2.0,
    "adam_lr_ratio": 0.5,
    "ns_steps": 2,
    "rms_rate": None,
    "warmup_steps": 3,
}
# What keeps an optimizer from NaN in units without gradients, and what an argument has no effect
# without.
NEEDED = {"Adafactor": {"epsilon_1": 1e-3}, ("SGD", "nesterov"): {"momentum": 0.7}}
FAST = ("together",)
FAST_OF_SGD = ("plain", "averages written", "accumulated, clipped", "schedule")
BASE = [
    "self",
    "learning_rate",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "name",
    "kwargs",
]


def cases():
    """Every optimizer with every argument; the fast tests run a few of each."""
    for name in NAMES:
        cls = getattr(Opt, name, None)
        if cls is None:  # Added in a later version of Keras.
            continue
        own = [
            argument
            for argument in inspect.signature(cls.__init__).parameters
            if argument not in BASE
        ]
        settings = {**COMMON, **{argument: {argument: OTHERS[argument]} for argument in own}}
        for label, arguments in settings.items():
            fast = label in FAST or (name == "SGD" and label in FAST_OF_SGD)
            yield pytest.param(
                cls,
                {**NEEDED.get((name, label), {}), **NEEDED.get(name, {}), **arguments},
                id=f"{name}, {label}",
                marks=() if fast else pytest.mark.slow,
            )


def trained_by_keras(model, optimizer, **kwargs):
    """The weights after stock training of a clone, on the batches of `finetune`."""
    order = np.random.default_rng([SEED, 0]).permutation(SAMPLES)
    model.compile(optimizer, "mse", **kwargs)
    x, y = (array[order] for array in TRAIN)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    return model.get_weights()


def clone(model):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def slopes(model):
    return [variable for variable in model.trainable_variables if is_slope(variable)]


def finetuned(**kwargs):
    """The result of `finetune` after an epoch."""
    return kp.finetune(
        converted_model(),
        TRAIN,
        VALIDATION,
        original=relu_model(),
        epochs=1,
        batch_size=BATCH,
        seed=SEED,
        **kwargs,
    )


def tuned(optimizer, **kwargs):
    """The weights of the converted model and of the control after `finetune`."""
    result = finetuned(optimizer=optimizer, **kwargs)
    return result.prelu.model.get_weights(), result.control.model.get_weights()


def assert_same(weights, expected):
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_trains_as_keras_does(make, exclude=None):
    """Compare `finetune` with stock training of both models.

    Args:
        make: Function that returns a new optimizer.
        exclude: Function that excludes variables of a model from an optimizer's weight decay.
    """
    optimizer = make()
    if exclude is not None:
        exclude(optimizer, relu_model(), [])
    converted_weights, control_weights = tuned(optimizer)
    for weights, model in ((control_weights, relu_model()), (converted_weights, converted_model())):
        copy, stock = clone(model), make()
        inner = getattr(stock, "inner_optimizer", stock)
        if exclude is not None:
            exclude(inner, copy, slopes(copy))
        elif slopes(copy):
            inner.exclude_from_weight_decay(var_list=slopes(copy))
        assert_same(weights, trained_by_keras(copy, stock))
        changed = [
            not np.array_equal(one, other)
            for one, other in zip(weights, model.get_weights(), strict=True)
        ]
        assert any(changed)


@pytest.mark.parametrize(("cls", "arguments"), list(cases()))
def test_every_optimizer_with_every_argument(cls, arguments):
    assert_trains_as_keras_does(lambda: cls(**{"learning_rate": 0.02, **arguments}))


def by_variable(optimizer, model, more):
    layer = model.get_layer("output")
    optimizer.exclude_from_weight_decay(var_list=[layer.kernel, *more])


def by_name(optimizer, model, more):
    optimizer.exclude_from_weight_decay(var_list=more, var_names=["bias"])


def by_both(optimizer, model, more):
    hidden = model.get_layer("hidden").kernel
    optimizer.exclude_from_weight_decay(var_list=[hidden, *more], var_names=["bias", "x"])


@pytest.mark.parametrize("exclude", [by_variable, by_name, by_both])
@pytest.mark.parametrize("cls", [Opt.SGD, Opt.AdamW, Opt.Lamb])
def test_exclusions_from_weight_decay(cls, exclude):
    assert_trains_as_keras_does(lambda: cls(0.02, weight_decay=0.5), exclude)


@pytest.mark.parametrize("initial_scale", [4.0, 2.0**127])
def test_scaled_losses(initial_scale):
    """A scale that overflows at first is halved, and its steps are left out."""
    assert_trains_as_keras_does(
        lambda: Opt.LossScaleOptimizer(
            Opt.SGD(0.02, momentum=0.5), initial_scale=initial_scale, dynamic_growth_steps=2
        )
    )


def test_an_optimizer_of_the_users_own():
    assert_trains_as_keras_does(lambda: Own(0.02, power=2.0, global_clipnorm=0.5))


def several():
    return Opt.MultiOptimizer(
        Opt.OptimizerMap(Opt.SGD(0.02, momentum=0.5), {".*hidden.*": Opt.Adam(0.01, use_ema=True)})
    )


has_multi_optimizer = pytest.mark.skipif(
    not hasattr(Opt, "MultiOptimizer"), reason="this version of Keras has no MultiOptimizer"
)


@has_multi_optimizer
def test_several_optimizers():
    converted_weights, control_weights = tuned(several())
    for weights, model in ((control_weights, relu_model()), (converted_weights, converted_model())):
        assert_same(weights, trained_by_keras(clone(model), several()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Opt.SGD(0.02, use_ema=True, ema_momentum=0.5),
        lambda: Opt.LossScaleOptimizer(Opt.SGD(0.02, use_ema=True, ema_momentum=0.5)),
        pytest.param(several, marks=has_multi_optimizer),
    ],
    ids=["SGD", "scaled loss", "several"],
)
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_averages_are_evaluated_by_the_callback_of_keras(make, swap_on_epoch):
    """History and weights with `SwapEMAWeights`, without and with slopes of another rate."""
    order = np.random.default_rng([SEED, 0]).permutation(SAMPLES)
    x, y = (array[order] for array in TRAIN)

    def callbacks():
        return [keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)]

    result = finetuned(optimizer=make(), callbacks=callbacks)
    for tuned_model, model in ((result.control, relu_model()), (result.prelu, converted_model())):
        copy = clone(model)
        copy.compile(make(), "mse")
        history = copy.fit(
            x,
            y,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            validation_data=VALIDATION,
            validation_batch_size=32,
            callbacks=callbacks(),
        ).history
        assert_same(tuned_model.model.get_weights(), copy.get_weights())
        assert tuned_model.history["val_loss"] == history["val_loss"]


@pytest.mark.parametrize("cls", [Opt.SGD, Opt.Adam, Opt.Lion, Opt.Ftrl, Own])
def test_another_rate_of_slopes_changes_the_first_step_of_slopes_alone(cls):
    """One step of slopes is that of an optimizer with their rate, one of weights that of theirs."""

    def after_one_step(optimizer):
        model = clone(converted_model())
        model.compile(optimizer, "mse")
        model.train_on_batch(TRAIN[0][:BATCH], TRAIN[1][:BATCH])
        return [
            (is_slope(variable), keras.ops.convert_to_numpy(variable))
            for variable in model.trainable_variables
        ]

    settings = {"global_clipnorm": 0.3}
    weights, slopes, both = map(
        after_one_step,
        (cls(0.01, **settings), cls(0.04, **settings), SlopeOptimizer(cls(0.01, **settings), 4.0)),
    )
    for weight, slope, variable in zip(weights, slopes, both, strict=True):
        expected = slope if variable[0] else weight
        np.testing.assert_allclose(variable[1], expected[1], rtol=1e-6)


class ReadsItsRate(Own):
    """An optimizer that does not use the argument `learning_rate`."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, self.learning_rate)


def test_an_optimizer_that_reads_its_own_rate_gives_slopes_theirs():
    moves = []
    for cls in (Own, ReadsItsRate):
        model = clone(converted_model())
        model.compile(SlopeOptimizer(cls(0.01), 5.0), "mse")
        model.train_on_batch(*TRAIN)
        moves.append(model.get_weights())
    assert_same(*moves)


class Incomplete(Own):
    """An optimizer with an argument that neither `get_config` nor an attribute holds."""

    def __init__(self, learning_rate=0.01, halvings=0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.halvings = 2**halvings


class Needs(Own):
    def __init__(self, needed, **kwargs):
        super().__init__(**kwargs)
        self._needed = needed


def foreign_exclusion():
    optimizer = Opt.AdamW(0.01)
    optimizer.exclude_from_weight_decay(var_list=[network().get_layer("hidden").kernel])
    return optimizer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Incomplete(halvings=3), r"'incomplete.*\(Incomplete\).*`halvings` is"),
        (lambda: Needs(1), r"'needs.*\(Needs\) can't be copied.*get_config"),
        (foreign_exclusion, "excludes 1 variable.*'functional"),
        (lambda: SlopeOptimizer("sgd"), "`optimizer` is a SlopeOptimizer.*slope_multiplier"),
        pytest.param(
            lambda: Opt.MultiOptimizer(lambda variable: Opt.SGD(0.1)),
            "chooses by a function.*OptimizerMap",
            marks=has_multi_optimizer,
        ),
    ],
    ids=["argument lost", "no configuration", "foreign variable", "slopes", "function"],
)
def test_what_cannot_be_carried_is_refused_by_name_before_any_training(make, message):
    trained = []
    callback = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: trained.append(1))
    with pytest.raises(kp.errors.InvalidArgumentError, match=message) as caught:
        tuned(make(), callbacks=lambda: [callback])
    assert not trained
    assert "\n" not in str(caught.value)


def test_ftrl_cannot_freeze_slopes():
    with pytest.raises(kp.errors.InvalidArgumentError, match="Ftrl divides by its learning rate"):
        tuned(Opt.Ftrl(0.01), slope_frozen_epochs=0.5)


def test_the_users_optimizer_is_not_changed():
    optimizer = Opt.LossScaleOptimizer(Opt.AdamW(0.01, weight_decay=0.5))
    before = optimizer.get_config()
    tuned(optimizer, slope_multiplier=3.0)
    assert optimizer.get_config() == before
    assert not optimizer.built
    assert not optimizer.inner_optimizer.built


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("auto_scale_loss", [True, False])
def test_mixed_precision(policy, auto_scale_loss):
    """Keras scales the loss of a float16 model, also where the global policy is another one now."""
    keras.config.set_dtype_policy(policy)
    try:
        model, stock = network(), network()
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", "mse", auto_scale_loss=auto_scale_loss)
    result = kp.finetune(
        kp.convert(model, alpha=0.2, rescale="none"),
        TRAIN,
        VALIDATION,
        original=model,
        epochs=1,
        batch_size=BATCH,
        seed=SEED,
        optimizer=Opt.Adam(0.01),
    )
    weights = trained_by_keras(stock, Opt.Adam(0.01), auto_scale_loss=auto_scale_loss)
    assert_same(result.control.model.get_weights(), weights)
    scales = policy == "mixed_float16" and auto_scale_loss
    for trained in (stock, result.control.model, result.prelu.model):
        assert isinstance(trained.optimizer, Opt.LossScaleOptimizer) == scales


@pytest.mark.parametrize(
    "optimizer", ["adma", keras.optimizers.Adam, 0.01, {"class_name": "Nothing", "config": {}}]
)
def test_what_is_no_optimizer_is_refused(optimizer):
    samples = (np.zeros((24, 5), "float32"), np.zeros((24, 1), "float32"))
    with pytest.raises(InvalidArgumentError, match="`optimizer` must be a Keras optimizer"):
        kp.finetune(relu_model(), samples, samples, optimizer=optimizer)
    with pytest.raises(InvalidArgumentError, match="`optimizer` must be a Keras optimizer"):
        SlopeOptimizer(optimizer)


def test_a_method_that_was_replaced_on_the_object_is_refused():
    samples = (np.zeros((24, 5), "float32"), np.zeros((24, 1), "float32"))
    optimizer = keras.optimizers.SGD()
    optimizer.update_step = lambda gradient, variable, learning_rate: None
    for given in (optimizer, keras.optimizers.LossScaleOptimizer(optimizer)):
        with pytest.raises(InvalidArgumentError, match="its method update_step was replaced"):
            kp.finetune(relu_model(), samples, samples, optimizer=given)


def decaying():
    return keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5))


@pytest.mark.parametrize(
    ("optimizer", "schedule", "message"),
    [
        (None, None, "schedule='constant'"),
        ("sgd", "linear", "schedule='constant'"),
        (decaying(), None, "Give the optimizer a number"),
        (keras.optimizers.LossScaleOptimizer(decaying()), None, "Give the optimizer a number"),
        (keras.optimizers.SGD(lambda: 0.1), None, "Give the optimizer a number"),
        (None, "constant", ""),
        ("sgd", None, ""),
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), None, ""),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: [keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=9)],
        lambda: [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)],
    ],
)
@pytest.mark.parametrize("given_as", [list, callable])
def test_callbacks_that_set_the_rate_of_a_schedule_are_refused_at_once(
    optimizer, schedule, message, make, given_as
):
    samples = (np.zeros((24, 5), "float32"), np.zeros((24, 1), "float32"))
    callbacks = make() if given_as is list else make
    arguments = {
        "recipe": "identity",
        "epochs": 1,
        "optimizer": optimizer,
        "schedule": schedule,
        "callbacks": callbacks,
    }
    if message:
        with pytest.raises(InvalidArgumentError, match=message):
            kp.finetune(relu_model(), samples, samples, **arguments)
    else:
        assert kp.finetune(relu_model(), samples, samples, **arguments).verdict
