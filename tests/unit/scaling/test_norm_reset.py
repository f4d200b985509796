"""keras_prelu.scaling.norm_reset: norms as at initialization, decisions unchanged."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.conversion.fresh_copies import fresh_copy
from keras_prelu.scaling import norm_reset
from tests.helpers import channel_chains as chains
from tests.helpers import custom, models

L = keras.layers
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def array(value):
    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float64)


def grown(model, seed=0):
    """A network whose kernels have grown by different factors, with biases and statistics as
    training leaves them."""
    rng = np.random.default_rng(seed)
    models.live_in(model)
    for layer in model._flatten_layers(include_self=False):
        if hasattr(layer, "kernel") and isinstance(layer.kernel, keras.Variable):
            layer.kernel.assign(array(layer.kernel) * rng.uniform(1.5, 4.0))
    return model


def mlp(activation=None):
    return keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(8, activation="relu", name="first"),
            L.Dense(8, name="second"),
            kp.PReLU(0.3),
            L.Dense(4, activation=activation, name="last"),
        ],
        name="mlp",
    )


def norms(model):
    return {
        layer.name: np.linalg.norm(array(layer.kernel))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }


def forward(weights, x, slopes):
    """The logits of an MLP in float64."""
    for (kernel, bias), slope in zip(weights, slopes, strict=True):
        x = x @ kernel + bias
        x = np.where(x > 0, x, slope * x)
    return x


def dense_weights(model):
    layers = [layer for layer in model.layers if isinstance(layer, L.Dense)]
    return [(array(layer.kernel), array(layer.bias)) for layer in layers]


@pytest.mark.backends
def test_an_mlp_against_the_closed_form():
    """Kernels are scaled by target/norm, biases by the product of these up to their layer, and the
    logits by the product of all."""
    model, reference = grown(mlp("softmax")), mlp("softmax")
    model.compile(loss="sparse_categorical_crossentropy")
    x = models.samples(model, 32)
    before, weights = models.outputs(model, x), dense_weights(model)
    record = kp.reset_norms(model, reference=reference)
    factor, expected = 1.0, []
    for (kernel, bias), (initial, _) in zip(weights, dense_weights(reference), strict=True):
        ratio = np.linalg.norm(initial) / np.linalg.norm(kernel)
        factor *= ratio
        expected.append((kernel * ratio, bias * factor))
    for pair, wanted in zip(dense_weights(model), expected, strict=True):
        np.testing.assert_allclose(pair[0], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(pair[1], wanted[1], rtol=1e-5)
    assert record.output_factor == pytest.approx(factor, rel=1e-5)
    assert [layer.path for layer in record.layers] == ["first", "second", "last"]
    assert {layer.action for layer in record.layers} == {"reset"}
    slopes = (0.0, array(model.layers[2].alpha), 1.0)
    logits = forward(weights, x.astype(np.float64), slopes) * factor
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    after = models.outputs(model, x)
    np.testing.assert_allclose(after, exps / exps.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_outputs_that_are_kept_leave_the_rest_to_their_layer():
    model, reference = grown(mlp()), mlp()
    x, old, initial = models.samples(model, 32), norms(model), norms(reference)
    before = models.outputs(model, x)
    record = kp.reset_norms(model, reference=reference)
    rest = np.prod([old[name] / initial[name] for name in ("first", "second")]) * old["last"]
    assert norms(model) == pytest.approx({**initial, "last": rest}, rel=1e-5)
    assert [layer.action for layer in record.layers] == [
        "reset",
        "reset",
        "scaled: it takes what other factors leave, so that the output is kept",
    ]
    assert record.output_factor == 1.0
    np.testing.assert_allclose(models.outputs(model, x), before, rtol=1e-4, atol=1e-5)


def normalized(epsilon=1e-3):
    """Two blocks of a convolution and a BatchNormalization, one of them residual."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, padding="same", name="one")(inputs)
    x = L.ReLU()(L.BatchNormalization(epsilon=epsilon, name="bn_one")(x))
    y = L.Conv2D(6, 3, padding="same", use_bias=False, name="two")(x)
    y = L.ReLU()(L.BatchNormalization(epsilon=epsilon, name="bn_two")(y))
    x = L.GlobalAveragePooling2D()(L.Add()([x, y]))
    return keras.Model(inputs, L.Dense(3, name="logits")(x), name="normalized")


@pytest.mark.backends
def test_layers_before_a_batch_normalization_against_the_closed_form():
    model, reference = grown(normalized()), normalized()
    before = {variable.path: array(variable) for variable in model.variables}
    x = models.samples(model, 16)
    outputs = models.outputs(model, x)
    record = kp.reset_norms(model, reference=reference)
    scale = {
        name: np.linalg.norm(array(reference.get_layer(name).kernel))
        / np.linalg.norm(before[f"{name}/kernel"])
        for name in ("one", "two")
    }
    expected = dict(before)
    expected["one/bias"] = before["one/bias"] * scale["one"]
    for name, factor in scale.items():
        variance = before[f"bn_{name}/moving_variance"]
        expected[f"{name}/kernel"] = before[f"{name}/kernel"] * factor
        expected[f"bn_{name}/moving_mean"] = before[f"bn_{name}/moving_mean"] * factor
        expected[f"bn_{name}/moving_variance"] = variance * factor**2
        kept = np.sqrt((variance * factor**2 + 1e-3) / (factor**2 * (variance + 1e-3)))
        expected[f"bn_{name}/gamma"] = before[f"bn_{name}/gamma"] * kept
    for variable in model.variables:
        np.testing.assert_allclose(array(variable), expected[variable.path], rtol=1e-5)
    assert [layer.action[:5] for layer in record.layers] == ["reset", "reset", "kept:"]
    np.testing.assert_allclose(models.outputs(model, x), outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(array(model.get_layer("logits").kernel), before["logits/kernel"])


@pytest.mark.parametrize("epsilon", [1e-3, 1e-6])
def test_the_loss_of_training_is_unchanged_before_the_first_step(epsilon):
    model = grown(normalized(epsilon))
    model.compile("sgd", LOGITS)
    x = models.samples(model, 64)
    for layer in model.layers:  # Statistics are those of the batch, as after training.
        if isinstance(layer, L.BatchNormalization):
            layer.momentum = 0.0
    y = np.random.default_rng(0).integers(0, 3, 64)
    model(x, training=True)

    def loss():
        return float(array(LOGITS(y, model(x, training=True))))

    def loss_of_train_step():
        model.optimizer.learning_rate = 0.0
        return model.train_on_batch(x, y)

    before = loss(), loss_of_train_step()
    record = kp.reset_norms(model, outputs="exact")
    assert [layer.action for layer in record.layers][:2] == ["reset", "reset"]
    assert (loss(), loss_of_train_step()) == pytest.approx(before, rel=1e-4)


def test_least_squares_where_a_residual_stream_shares_its_factor():
    """x₀ = W₀·x, x₁ = x₀ + W₂·relu(W₁·x₀): W₀ is free; of W₁ and W₂ only the ratio is, so both miss
    their targets by the geometric mean of their ratios."""

    def network():
        inputs = keras.Input((6,))
        x = L.Dense(8, name="zero")(inputs)
        y = L.Dense(8, name="two")(L.ReLU()(L.Dense(8, name="one")(x)))
        return keras.Model(inputs, L.Dense(3, name="out")(L.Add()([x, y])))

    model, reference = grown(network()), network()
    old, initial = norms(model), norms(reference)
    x = models.samples(model, 16)
    before = models.outputs(model, x)
    record = kp.reset_norms(model, reference=reference, outputs="decisions")
    missed = np.sqrt(old["one"] * old["two"] / (initial["one"] * initial["two"]))
    expected = {
        **initial,
        "one": initial["one"] * missed,
        "two": initial["two"] * missed,
    }
    assert norms(model) == pytest.approx(expected, rel=1e-5)
    factor = initial["zero"] / old["zero"] * initial["out"] / old["out"]
    assert record.output_factor == pytest.approx(factor, rel=1e-5)
    after = models.outputs(model, x)
    np.testing.assert_allclose(after, factor * before, rtol=0, atol=1e-5 * np.abs(after).max())
    shared = [layer for layer in record.layers if layer.path in ("one", "two")]
    assert all("least squares" in layer.action for layer in shared)


@pytest.mark.backends
@pytest.mark.parametrize("build", [models.nested, models.residual, models.pre_activation])
@pytest.mark.parametrize("convert", [False, True])
def test_networks_of_every_kind_get_their_norms_and_keep_their_decisions(build, convert):
    model = grown(build())
    if convert:
        model = models.with_slopes(kp.convert(model, parameterization="identity", rescale="none"))
    model.compile(loss=LOGITS)
    x = models.samples(model, 16)
    before = models.outputs(model, x)
    record = kp.reset_norms(model, seed=3)
    assert {layer.action for layer in record.layers} == {"reset"}
    factor, after = record.output_factor, models.outputs(model, x)
    np.testing.assert_allclose(after, factor * before, rtol=0, atol=1e-4 * np.abs(after).max())
    assert factor < 0.8


def check_random_network(seed):
    keras.utils.set_random_seed(seed)
    model = chains.random_network(seed)
    shape = (16, chains.POSITIONS, chains.CHANNELS)
    x = np.random.default_rng(seed).normal(size=shape).astype("float32")
    keras.utils.set_random_seed(1)
    before = [array(keras.ops.cast(part, "float32")) for part in keras.tree.flatten(model(x))]
    if not all(np.isfinite(part).all() for part in before):
        return 0
    weights = model.get_weights()
    record = kp.reset_norms(model, outputs="decisions")
    keras.utils.set_random_seed(1)
    after = [array(keras.ops.cast(part, "float32")) for part in keras.tree.flatten(model(x))]
    tolerance = 1e-2 if "float16" in model.name else 5e-5
    for old, new, factor in zip(before, after, record.output_factors, strict=True):
        limit = tolerance * np.abs(factor * old).max()
        np.testing.assert_allclose(new, factor * old, rtol=0, atol=limit, err_msg=model.name)
    known = [each for each in record.layers if each.target > 0 and each.norm_before > 0]
    if not any(each.action.startswith("scaled") or each.action == "reset" for each in known):
        for one, other in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def misses(value):
        return sum(np.log(getattr(each, value) / each.target) ** 2 for each in known)

    if "float16" not in model.name:
        assert misses("norm_after") <= misses("norm_before") * 1.0001
        # The optimum of least squares: a second reset finds nothing to scale.
        again = kp.reset_norms(model, outputs="decisions")
        assert again.output_factors == pytest.approx([1.0] * len(after), rel=1e-4)
        for one, other in zip(record.layers, again.layers, strict=True):
            assert other.norm_after == pytest.approx(one.norm_after, rel=1e-4), model.name
    return sum(each.action == "reset" for each in record.layers)


@chains.may_drop_masks
def test_random_networks_change_by_their_factor_alone():
    assert sum(map(check_random_network, range(20))) > 20


@pytest.mark.slow
@chains.may_drop_masks
@pytest.mark.parametrize("seed", range(20, 100))
def test_many_random_networks_change_by_their_factor_alone(seed):
    check_random_network(seed)


def test_without_a_reference_targets_are_the_norms_of_a_fresh_copy():
    model = grown(models.residual())
    for seed in (0, 4):
        fresh, copy = fresh_copy(model, seed), keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        record = kp.reset_norms(copy, seed=seed)
        assert {layer.path: layer.target for layer in record.layers} == pytest.approx(norms(fresh))


def heads():
    """Networks by the loss that they are compiled with, and whether their decisions are kept
    alone."""
    crossentropy = keras.losses.CategoricalCrossentropy
    return [
        (None, None, False),
        ("softmax", None, False),
        (None, "mse", False),
        (None, LOGITS, True),
        (None, keras.losses.BinaryCrossentropy(from_logits=True), True),
        (None, "categorical_crossentropy", False),
        (None, crossentropy(), False),
        ("softmax", "sparse_categorical_crossentropy", True),
        ("softmax", crossentropy(label_smoothing=0.1), True),
        ("sigmoid", keras.losses.binary_crossentropy, True),
        ("sigmoid", "binary_focal_crossentropy", True),
        ("sigmoid", "mse", False),
        ("softplus", "categorical_crossentropy", False),
        (None, lambda y, prediction: prediction, False),
    ]


@pytest.mark.parametrize(("activation", "loss", "decisions"), heads())
def test_the_compiled_loss_tells_what_is_kept(activation, loss, decisions):
    model = grown(mlp(activation))
    if loss is not None:
        model.compile(loss=loss)
    x = models.samples(model, 32)
    before = models.outputs(model, x)
    record = kp.reset_norms(model)
    assert (record.output_factor != 1.0) == decisions
    assert record.layers[-1].action.startswith("reset" if decisions else "scaled")
    after = models.outputs(model, x)
    if not decisions:
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())
    elif activation == "sigmoid":
        np.testing.assert_array_equal(after > 0.5, before > 0.5)
    else:
        np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def with_heads():
    """Two outputs from one trunk: probabilities by a layer of their own, and a regression."""
    inputs = keras.Input((6,))
    x = L.Dense(8, activation="relu", name="trunk")(inputs)
    kind = L.Softmax(name="kind")(L.Dense(3, name="logits")(x))
    size = L.Dense(1, name="size")(x)
    return keras.Model(inputs, {"size": size, "kind": kind}, name="heads")


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "sparse_categorical_crossentropy", "size": "mse"},
        ["sparse_categorical_crossentropy", "mse"],
    ],
)
def test_each_output_has_its_own_factor(loss):
    model, reference = grown(with_heads()), with_heads()
    model.compile(loss=loss)
    old, initial = norms(model), norms(reference)
    x = models.samples(model, 32)
    before = {name: array(value) for name, value in model(x).items()}
    record = kp.reset_norms(model, reference=reference)
    after = {name: array(value) for name, value in model(x).items()}
    trunk = initial["trunk"] / old["trunk"]
    assert norms(model) == pytest.approx({**initial, "size": old["size"] / trunk}, rel=1e-5)
    factors = (initial["logits"] / old["logits"] * trunk, 1.0)  # "kind", "size"
    assert record.output_factors == pytest.approx(factors, rel=1e-5)
    assert np.isnan(record.output_factor)
    np.testing.assert_allclose(after["size"], before["size"], rtol=1e-4, atol=1e-5)
    logits = np.log(before["kind"]) * factors[0]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after["kind"], expected, atol=1e-4)


def test_a_converted_model_may_have_the_untrained_relu_model_as_reference():
    untrained = models.residual()
    converted = kp.convert(grown(models.residual()), rescale="none")
    kp.reset_norms(converted, reference=untrained, outputs="decisions")
    reached, wanted = (list(norms(model).values()) for model in (converted, untrained))
    assert reached == pytest.approx(wanted, rel=1e-5)


def test_a_reference_with_other_layers_is_refused():
    model = mlp()
    with pytest.raises(kp.errors.InvalidArgumentError, match="2 linear layers instead of 3"):
        kp.reset_norms(
            model, reference=keras.Sequential([keras.Input((6,)), L.Dense(8), L.Dense(4)])
        )
    other = keras.Sequential([keras.Input((6,)), L.Dense(8), L.Dense(9, name="wide"), L.Dense(4)])
    with pytest.raises(kp.errors.InvalidArgumentError, match=r"'wide' has .* \(8, 9\), and not"):
        kp.reset_norms(model, reference=other)
    with pytest.raises(kp.errors.InvalidArgumentError, match="'exact', 'decisions' or None"):
        kp.reset_norms(model, outputs="logits")
    with pytest.raises(kp.errors.ConversionError, match="graph"):
        kp.reset_norms(custom.Classifier())


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        *chains.NOT_SCALED,
        (lambda x: L.ReLU(6.0)(L.Dense(4)(x)), "has a cap, so that it is not homogeneous"),
        (
            lambda x: L.BatchNormalization(scale=False)(L.Dense(4)(x)),
            "has no γ to take up its ε, which does not scale",
        ),
        (lambda x: L.Dense(4, "gelu")(x), "has no weights that scale its output"),
        (
            lambda x: L.Dense(4, kernel_initializer="zeros")(x),
            "its kernel was 0",
        ),
    ],
)
def test_what_has_to_stay_is_kept_with_the_reason(build, reason):
    inputs = keras.Input((4, 4))
    model = grown(keras.Model(inputs, L.Dense(3)(build(inputs))))
    weights = model.get_weights()
    record = kp.reset_norms(model, outputs="exact")
    assert record.layers[0].action.startswith("kept: ")
    assert record.layers[0].action.endswith(reason)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_low_precision_is_scaled_by_powers_of_2(policy):
    model = grown(
        keras.Sequential(
            [
                keras.Input((6,)),
                L.Dense(8, "relu", dtype=policy),
                L.Dense(8, "relu", dtype=policy),
                L.Dense(3, dtype=policy),
            ]
        )
    )
    x = models.samples(model, 16)
    before = array(keras.ops.cast(model(x), "float32"))
    record = kp.reset_norms(model, outputs="decisions")
    after = array(keras.ops.cast(model(x), "float32"))
    np.testing.assert_array_equal(after, before * record.output_factor)
    assert np.log2(record.output_factor) == round(np.log2(record.output_factor)) < 0
    for layer in record.layers:
        assert 0.5 < layer.norm_after / layer.target < 2.0
    actions = [layer.action for layer in record.layers]
    assert all(action == "reset" or action.endswith("low precision") for action in actions)


@pytest.mark.parametrize("stage", [0, 1])
def test_a_changed_function_is_noticed_and_undone(monkeypatch, stage):
    """Outputs are first kept, then multiplied: an error in either is found."""
    model = grown(mlp("softmax" if stage else None))
    model.compile(loss="sparse_categorical_crossentropy" if stage else LOGITS)
    weights, calls = model.get_weights(), []

    def wrong(layer, read, written):
        original(layer, read, written)
        calls.append(layer)
        if len(calls) == (4 if stage else 1):
            layer.bias.assign(array(layer.bias) + np.arange(layer.units) * 50.0)

    original = norm_reset.take_factors
    monkeypatch.setattr(norm_reset, "take_factors", wrong)
    with pytest.raises(kp.errors.ConversionError, match="Resetting the norms of 'mlp' changes"):
        kp.reset_norms(model)
    assert len(calls) >= 3
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_of_unknown_initial_norm_take_factors_that_others_need():
    inputs = keras.Input((6,))
    middle = L.Dense(8, "relu", name="middle")
    x = middle(L.Dense(8, "relu", name="first")(inputs))
    model = keras.Model(inputs, L.Dense(3, name="last")(x))
    del middle.kernel_initializer
    record = kp.reset_norms(grown(model), outputs="decisions")
    assert [layer.action for layer in record.layers] == [
        "reset",
        "scaled: its norm at initialization is not known",
        "reset",
    ]
    assert np.isnan(record.layers[1].target)
