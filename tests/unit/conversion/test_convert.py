"""keras_prelu.conversion.convert: exactness, fidelity, arguments and errors."""

import gc
import inspect
import sys

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import custom, models, references

L = keras.layers


def predict(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))


def step_by_step(model, x):
    return [
        keras.ops.convert_to_numpy(output)
        for output in keras.tree.flatten(model(x, training=False))
    ]


def slopes_of(model):
    return {path: keras.ops.convert_to_numpy(layer.alpha) for path, layer in prelu_layers(model)}


@pytest.mark.parametrize("build", models.ALL)
@pytest.mark.parametrize(
    "parameterization", ["identity", kp.parameterizations.Square(allow_zero=True)]
)
def test_at_slope_zero_the_output_is_the_same_bit_for_bit(build, parameterization):
    model = models.live_in(build())
    x = models.samples(model)
    converted = kp.convert(
        model, alpha=0.0, parameterization=parameterization, rescale="none", keep_slopes=True
    )
    # JAX's compiler may round a network with PReLUs otherwise than one with ReLUs.
    outputs = step_by_step if keras.backend.backend() == "jax" else predict
    for before, after in zip(outputs(model, x), outputs(converted, x), strict=True):
        if build is models.leaky:  # a learned or leaky slope is computed by another formula
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
        else:
            assert after.tobytes() == before.tobytes()
    assert not [site for site in kp.find_sites(converted) if site.convertible]
    assert type(converted) is type(model)
    assert converted.name == model.name


@pytest.mark.parametrize("build", models.ALL)
def test_without_options_the_output_is_the_same_bit_for_bit(build, recwarn, tmp_path):
    model = models.live_in(build())
    x = models.samples(model)
    converted = kp.convert(model)
    kp.save_model(converted, tmp_path / "model.keras")
    outputs = step_by_step if keras.backend.backend() == "jax" else predict
    for before, after, loaded in zip(
        *(outputs(each, x) for each in (model, converted, kp.load_model(tmp_path / "model.keras"))),
        strict=True,
    ):
        assert after.tobytes() == before.tobytes()
        assert loaded.tobytes() == before.tobytes()
    assert {layer.parameterization.name for _, layer in prelu_layers(converted)} == {"identity"}
    assert not [one for one in recwarn if issubclass(one.category, kp.errors.KerasPReLUWarning)]


def test_slopes_that_start_at_0_learn():
    model = models.live_in(models.mlp())
    converted = kp.convert(model)
    x = models.samples(model)
    converted.compile("sgd", "mse")
    converted.fit(x, np.ones((len(x), *model.output_shape[1:])), verbose=0)
    assert all(np.any(slopes != 0) for slopes in slopes_of(converted).values())


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.25},
        {"alpha": 0.01},
        {"alpha": -0.25, "parameterization": "identity"},
        {"parameterization": "exp"},
        {"parameterization": "square"},
        {"parameterization": "softplus"},
        {"parameterization": "sigmoid"},
        {"parameterization": "positive", "alpha": 0.1},
    ],
)
def test_slopes_that_change_the_outputs_need_samples_or_a_named_rescaling(options):
    model = models.live_in(models.mlp())
    with pytest.raises(
        ValueError, match=r"'first' changes.*calibration_data.*\"moments\" or \"none"
    ) as error:
        kp.convert(model, **options)
    assert "\n" not in str(error.value)
    kp.convert(model, rescale="none", **options)
    kp.convert(model, calibration_data=models.samples(model), **options)


def test_a_model_whose_slopes_are_kept_needs_no_samples():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(3)(L.LeakyReLU(0.2, name="leaky")(L.Dense(4)(inputs))))
    for parameterization in (None, "exp", "positive"):
        slopes = slopes_of(kp.convert(model, parameterization=parameterization))
        np.testing.assert_allclose(slopes["leaky"], 0.2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"'leaky', which has its own.*keep_slopes"):
        kp.convert(model, keep_slopes=False)


def test_overwritten_learned_slopes_need_samples():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(3)(L.PReLU(name="own")(L.Dense(4)(inputs))))
    with pytest.raises(ValueError, match=r"'own', which has its own.*keep_slopes"):
        kp.convert(model, alpha=0.0, keep_slopes=False)


def test_smooth_activations_need_samples_at_any_slope():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(3)(L.Dense(4, activation="gelu", name="smooth")(inputs)))
    with pytest.raises(ValueError, match=r"'smooth' is smooth.*\(include, --include\)"):
        kp.convert(model, include="smooth")
    kp.convert(model, include="smooth", rescale="none")
    kp.convert(model, include="smooth", calibration_data=models.samples(model))


def test_positive_is_nearly_exact_and_stays_positive(tmp_path):
    model = models.live_in(models.convolutional())
    x = models.samples(model, 200)
    converted = kp.convert(model, parameterization="positive")
    for slopes in slopes_of(converted).values():
        np.testing.assert_allclose(slopes, 1e-3, rtol=1e-6)
    assert 0 < kp.theory.relative_error(predict(converted, x)[0], predict(model, x)[0]) < 1e-4
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(loaded, x)[0], predict(converted, x)[0])
    loaded.compile(keras.optimizers.Adam(0.01), "mse")
    loaded.fit(x, np.zeros((len(x), *model.output_shape[1:])), epochs=2, verbose=0)
    slopes = np.concatenate([each.ravel() for each in slopes_of(loaded).values()])
    assert slopes.min() >= np.float32(1e-3)
    assert slopes.max() > 2e-3


def test_positive_is_searched_within_its_constraint():
    model = models.live_in(models.mlp())
    with pytest.warns(kp.errors.KerasPReLUWarning, match="Even slopes of"):
        conversion = kp.run_conversion(
            model,
            alpha="auto",
            tolerance=1e-9,
            parameterization="positive",
            calibration_data=models.samples(model, 60),
        )
    assert min(conversion.slope_search.slopes.values()) == pytest.approx(1e-3)
    for slopes in slopes_of(conversion.model).values():
        assert slopes.min() >= np.float32(1e-3)


def test_slopes_that_positive_cannot_represent_are_kept_under_identity():
    converted = kp.convert(models.leaky(), parameterization="positive")
    assert converted.get_layer("stock").alpha_constraint is None
    assert converted.get_layer("leaky").alpha_constraint.minimum == 1e-3


@pytest.mark.parametrize("build", models.ALL)
def test_saved_and_loaded(build, tmp_path):
    model = models.live_in(build())
    converted = kp.convert(model, rescale="none")
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    x = models.samples(model, 4)
    for before, after in zip(predict(converted, x), predict(loaded, x), strict=True):
        np.testing.assert_array_equal(after, before)


def test_values_at_a_slope():
    model = models.live_in(models.mlp())
    x = models.samples(model)
    h = x
    for layer in model.layers[:2]:
        kernel, bias = layer.get_weights()
        h = references.prelu(h @ kernel.astype("float64") + bias, 0.3)
    kernel, bias = model.layers[2].get_weights()
    converted = kp.convert(model, alpha=0.3, rescale="none")
    np.testing.assert_allclose(predict(converted, x)[0], h @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_the_original_is_untouched():
    model = models.live_in(models.residual())
    model.compile("adam", "mse")
    x = models.samples(model)
    output, config, weights = predict(model, x)[0], model.get_config(), model.get_weights()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    kp.convert(model, calibration_data=x)
    assert model.get_config() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(predict(model, x)[0], output)


def test_the_new_model_shares_nothing_with_the_original():
    model = models.live_in(models.convolutional())
    converted = kp.convert(model, rescale="none")
    converted.compile("sgd", "mse")
    before = model.get_weights()
    converted.fit(models.samples(model), np.zeros((64, 5), "float32"), verbose=0)
    predict(model, models.samples(model))  # on JAX a shared buffer would have been donated
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_names_order_and_trainable_flags_are_kept():
    model = models.live_in(models.nested())
    model.get_layer("backbone").trainable = False
    converted = kp.convert(model, rescale="none")
    backbone = converted.get_layer("backbone")
    assert [layer.name for layer in converted.layers] == [layer.name for layer in model.layers]
    assert [layer.name for layer in backbone.layers if not isinstance(layer, L.InputLayer)] == [
        "conv",
        "relu",
        "innermost",
    ]
    assert [layer.name for layer in backbone.get_layer("innermost").layers] == [
        "deep",
        "deep_prelu",
    ]
    assert not backbone.trainable_variables
    assert len(converted.trainable_variables) == len(model.trainable_variables) == 2


def test_a_single_frozen_layer_stays_frozen_with_its_slopes():
    model = models.mlp()
    model.layers[0].trainable = False
    converted = kp.convert(model, rescale="none")
    assert [layer.trainable for layer in converted.layers] == [False, False, True, True, True]


def test_compile_settings_are_kept_with_fresh_state():
    model = models.mlp()
    model.compile(
        keras.optimizers.SGD(0.123, momentum=0.5),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x, y = models.samples(model), np.zeros(64, "int32")
    model.fit(x, y, verbose=0)
    converted = kp.convert(model, rescale="none")
    assert type(converted.optimizer) is type(model.optimizer)
    assert converted.optimizer.get_config() == model.optimizer.get_config()
    assert int(converted.optimizer.iterations) == 0
    assert isinstance(converted.loss, keras.losses.SparseCategoricalCrossentropy)
    assert set(converted.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_losses_by_output_name_follow_an_output_that_became_a_prelu():
    inputs = keras.Input((4,))
    outputs = [
        L.Dense(2, activation="relu", name="positive")(inputs),
        L.Dense(1, name="free")(inputs),
    ]
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd", {"positive": "mae", "free": "mse"}, loss_weights={"positive": 3.0, "free": 1.0}
    )
    x, y = np.ones((4, 4), "float32"), [np.ones((4, 2), "float32"), np.ones((4, 1), "float32")]
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    np.testing.assert_allclose(
        converted.evaluate(x, y, verbose=0)[0], model.evaluate(x, y, verbose=0)[0], rtol=1e-6
    )


def test_a_loss_that_is_not_registered_is_kept_in_memory():
    class Unregistered(keras.losses.Loss):
        def __init__(self, needed):
            super().__init__()

        def call(self, y_true, y_pred):
            return y_pred

    model = models.residual()
    model.compile("sgd", Unregistered(1))
    converted = kp.convert(model, rescale="none")
    assert converted.compiled
    assert converted.loss is model.loss
    assert converted.optimizer is not model.optimizer
    assert all(layer.output is not None for layer in converted.layers)  # each was called once


def test_a_metric_that_cannot_be_rebuilt_is_said_and_the_model_converted():
    class Unregistered(keras.metrics.MeanSquaredError):
        def __init__(self, needed):
            super().__init__()

    model = models.residual()
    model.compile("sgd", "mse", metrics=[Unregistered(1)])
    with pytest.warns(kp.errors.KerasPReLUWarning, match="Compile the new model yourself"):
        converted = kp.convert(model, rescale="none")
    assert not converted.compiled


def test_an_optimizer_that_cannot_be_copied_is_said_and_the_model_converted():
    class Unregistered(keras.optimizers.SGD):
        def __init__(self, needed):
            super().__init__()

    model = models.mlp()
    model.compile(Unregistered(1), "mse")
    with pytest.warns(kp.errors.KerasPReLUWarning, match="Compile the new model yourself"):
        converted = kp.convert(model, rescale="none")
    assert converted.optimizer is None
    x = models.samples(model)
    converted.evaluate(x, np.zeros((len(x), *model.output_shape[1:])), verbose=0)
    assert all(layer.output is not None for layer in converted.layers)  # each was called once


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_kept(policy):
    keras.config.set_dtype_policy(policy)
    for build in (models.convolutional, models.operations):
        model = build()
        keras.config.set_dtype_policy("float32")
        converted = kp.convert(model, rescale="none")
        for _, layer in prelu_layers(converted):
            assert layer.compute_dtype == policy.removeprefix("mixed_")
            assert layer.beta.dtype == "float32"
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("build", [custom.Outer, custom.BuildsLate, custom.Block])
def test_layers_inside_custom_ones_keep_their_policies(build):
    """They get the default policy when they are created, which is another one by now."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    shape = (6, 6, 3) if build is custom.Block else (6,)
    model = custom.around(build(name="own"), L.Dense(2), shape=shape)
    keras.config.set_dtype_policy("float32")

    def policies(model):
        return {
            each.path: each.dtype_policy.name
            for each in model._flatten_layers()
            if not isinstance(each, (L.ReLU, kp.PReLU))
        }

    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    assert set(policies(converted).values()) == {"mixed_bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_slopes_that_a_model_has_are_kept():
    model = models.live_in(models.leaky())
    x = models.samples(model)
    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    np.testing.assert_allclose(predict(converted, x)[0], predict(model, x)[0], rtol=1e-5, atol=1e-6)
    slopes = slopes_of(kp.convert(model, alpha=0.4, rescale="none"))
    np.testing.assert_allclose(slopes["leaky"], 0.2, rtol=1e-6)
    np.testing.assert_allclose(slopes["sloped"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(slopes["plain_prelu"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(
        slopes["stock"], keras.ops.convert_to_numpy(model.get_layer("stock").alpha), rtol=1e-5
    )


def test_slopes_that_the_map_cannot_represent_are_kept_under_identity():
    model = models.leaky()
    assert keras.ops.convert_to_numpy(model.get_layer("stock").alpha).min() < 0
    converted = kp.convert(model, rescale="none")
    assert converted.get_layer("stock").parameterization.name == "identity"
    assert converted.get_layer("leaky").parameterization.name == "exp"


def test_slopes_are_overwritten_where_asked():
    for slopes in slopes_of(
        kp.convert(models.leaky(), alpha=0.4, rescale="none", keep_slopes=False)
    ).values():
        np.testing.assert_allclose(slopes, 0.4, rtol=1e-6)


def test_caps_are_kept():
    model = models.capped()
    assert [layer.max_value for _, layer in prelu_layers(kp.convert(model, rescale="none"))] == [
        6.0,
        6.0,
    ]


def test_paths_with_brackets_are_no_globs():
    class Block(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.steps = [L.Dense(6, "relu"), L.ReLU()]

        def call(self, x):
            return self.steps[1](self.steps[0](x) - 0.5)

    model = keras.Sequential([keras.Input((6,)), Block(name="block[1]"), L.Dense(2)])
    model(np.zeros((1, 6)))
    paths = [site.path for site in kp.find_sites(model)]
    assert paths == ["block[1]/steps[0]", "block[1]/steps[1]"]
    for path in paths:
        chosen = kp.run_conversion(model, include=path).sites
        assert [site.path for site in chosen] == [path]
        left = kp.run_conversion(model, exclude=path).sites
        assert [site.path for site in left] == [other for other in paths if other != path]


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"include": "first"}, {"first_prelu"}),
        ({"exclude": "first"}, {"dense_prelu"}),
        ({"include": "*"}, {"first_prelu", "dense_prelu"}),
        ({"include": keras.layers.Dense, "exclude": ["f*"]}, {"dense_prelu"}),
        ({"include": lambda site: site.path == "first"}, {"first_prelu"}),
    ],
)
def test_include_and_exclude(kwargs, expected):
    inputs = keras.Input((4,))
    model = keras.Model(
        inputs,
        L.Dense(2)(
            L.Dense(4, activation="relu", name="dense")(
                L.Dense(4, activation="relu", name="first")(inputs)
            )
        ),
    )
    assert set(slopes_of(kp.convert(model, rescale="none", **kwargs))) == expected


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alpha": 0.0, "parameterization": "exp"}, "'square' and 'identity'"),
        ({"alpha": -0.1, "parameterization": "square"}, "'identity'"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"alpha": "0.1"}, "alpha='0.1'"),
        ({"parameterization": "relu"}, "'sigmoid'"),
        ({"rescale": "magic"}, "'calibrated'"),
        ({"rescale": "calibrated"}, "calibration_data"),
        ({"include": "nosuch"}, "'nosuch' matches none of the 2"),
        ({"exclude": 3}, "exclude=3"),
        ({"shared_axes": "rows"}, "channel_wise"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        kp.convert(models.mlp(), **{"rescale": "none", **kwargs})


def test_nothing_to_convert():
    inputs = keras.Input((4,))
    with pytest.raises(kp.KerasPReLUError, match="has no ReLU"):
        kp.convert(keras.Model(inputs, L.Dense(3)(inputs)), rescale="none")
    with pytest.raises(kp.KerasPReLUError, match="threshold"):
        kp.convert(keras.Model(inputs, L.ReLU(threshold=1.0)(inputs)), rescale="none")
    with pytest.raises(kp.KerasPReLUError, match="`include` and `exclude`"):
        kp.convert(models.mlp(), exclude="*", rescale="none")


def test_a_layer_that_cannot_be_rebuilt_is_named():
    class NoConfig(L.Layer):
        def __init__(self, needed, **kwargs):
            super().__init__(**kwargs)
            self.dense = L.Dense(needed)
            self.hidden = (self.dense for _ in range(2))  # No object that can be duplicated.

        def call(self, inputs):
            return self.dense(inputs)

        def get_config(self):
            return super().get_config()

    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.ReLU()(NoConfig(1, name="mine")(inputs)))
    with pytest.raises(kp.KerasPReLUError, match=r"'mine' \(NoConfig\).*get_config.*`hidden`"):
        kp.convert(model, rescale="none", include="*")


def test_square_at_zero_is_allowed_and_said():
    with pytest.warns(kp.errors.KerasPReLUWarning, match="stay 0"):
        converted = kp.convert(models.mlp(), alpha=0.0, parameterization="square", rescale="none")
    assert all(np.all(slopes == 0) for slopes in slopes_of(converted).values())


def test_alpha_regularizer_and_shared_axes_reach_the_layers():
    converted = kp.convert(
        models.convolutional(),
        rescale="none",
        shared_axes="channel_shared",
        alpha_regularizer=kp.regularizers.AlphaL2(0.1),
    )
    assert [slopes.shape for slopes in slopes_of(converted).values()] == [(1, 1, 1), (1, 1, 1)]
    assert len(converted.losses) == 2


def test_a_lambda_layer_of_a_live_model_is_copied():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.ReLU()(L.Lambda(lambda x: 2.0 * x, output_shape=(4,))(inputs)))
    x = np.float32([[-1, 2, -3, 4]])
    converted = kp.convert(model, alpha=0.5, rescale="none", include="*")
    np.testing.assert_array_equal(predict(converted, x)[0], [[-1.0, 4.0, -3.0, 8.0]])


@pytest.mark.parametrize("jit", [False, True])
def test_training_one_model_leaves_the_other_as_it_was(jit):
    model = models.live_in(models.convolutional())
    converted = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none")
    x = models.samples(model)
    expected = predict(model, x)[0]
    for trained, other in ((converted, model), (model, converted)):
        before = predict(trained, x)[0]
        trained.compile(
            keras.optimizers.SGD(0.1),
            "mse",
            jit_compile=jit if keras.backend.backend() != "torch" else False,
        )
        trained.fit(x, np.ones((64, 5)), epochs=2, verbose=0)
        assert not np.allclose(predict(trained, x)[0], before)
        if other is model:
            assert predict(model, x)[0].tobytes() == expected.tobytes()
            tuned = predict(converted, x)[0]
    assert predict(converted, x)[0].tobytes() == tuned.tobytes()


def test_weights_that_are_no_numbers_are_named():
    model = models.mlp()
    model.get_layer("first").bias.assign([float("nan")] + [0.0] * 7)
    with pytest.warns(
        kp.errors.KerasPReLUWarning, match="weights '.*first/bias' hold NaN or infinite"
    ):
        kp.convert(model, rescale="none")


def test_weights_whose_mean_overflows_are_numbers(recwarn):
    layer = L.Dense(8, dtype="float16", activation="relu")
    model = keras.Sequential([keras.Input((6,)), layer])
    layer.kernel.assign(np.full((6, 8), 6e4))
    kp.convert(model, rescale="none", include="*")
    assert not [
        warning for warning in recwarn if issubclass(warning.category, kp.errors.KerasPReLUWarning)
    ]


def doubled(x):
    return models.keras.ops.add(x, x)


def test_lambda_layers_are_copied_with_the_module_they_come_from():
    """Their bytecode alone would not find what they call; the function's name is registered
    nowhere."""
    inputs = keras.Input((4,))
    x = L.Lambda(doubled, output_shape=(4,))(
        L.Lambda(lambda x: models.keras.ops.negative(x), output_shape=(4,))(inputs)
    )
    converted = kp.convert(keras.Model(inputs, L.ReLU()(x)), alpha=0.5, rescale="none", include="*")
    np.testing.assert_array_equal(
        predict(converted, np.float32([[-1, 2, -3, 4]]))[0], [[2.0, -2.0, 6.0, -4.0]]
    )


def test_a_constructor_that_takes_anything_and_builds_the_model_itself():
    """Keras would call it with inputs and outputs."""

    class Sized:
        def __init__(self, *args, **kwargs):
            super().__init__(*args, width=3, **kwargs)

    class Body(keras.Model):
        def __init__(self, width, name=None):
            inputs = keras.Input((4,))
            super().__init__(inputs, L.Dense(width, activation="relu")(inputs), name=name)

        def get_config(self):
            return {}

    class Wide(Sized, Body):
        pass

    model = Wide(name="wide")
    x = models.samples(model)
    with pytest.warns(kp.errors.KerasPReLUWarning, match="plain functional model"):
        converted = kp.convert(
            model, alpha=0.0, parameterization="identity", rescale="none", include="*"
        )
    assert predict(converted, x)[0].tobytes() == predict(model, x)[0].tobytes()


def test_a_functional_subclass_keeps_its_class():
    @keras.saving.register_keras_serializable(package="test")
    class Mine(keras.Model):
        def extra(self):
            return 42

    inputs = keras.Input((4,))
    model = Mine(inputs, L.Dense(3, activation="relu")(inputs))
    assert kp.convert(model, rescale="none", include="*").extra() == 42
    model.compile("sgd", "mse")
    converted = kp.convert(model, rescale="none", include="*")
    assert converted.extra() == 42
    assert converted.compiled


def test_a_functional_subclass_with_a_constructor_of_its_own_becomes_a_plain_model():
    class Backbone(keras.Model):
        def __init__(self, width, **kwargs):
            inputs = keras.Input((4,))
            super().__init__(inputs, L.Dense(width, activation="relu")(inputs), **kwargs)

        def get_config(self):
            return {"width": 3}

    model = Backbone(3, name="body")
    model.compile("sgd", "mse")
    x = models.samples(model)
    with pytest.warns(
        kp.errors.KerasPReLUWarning, match=r"'body' \(Backbone\).*plain functional model"
    ):
        converted = kp.convert(
            model, alpha=0.0, parameterization="identity", rescale="none", include="*"
        )
    assert [type(layer).__name__ for layer in converted.layers] == ["InputLayer", "Dense", "PReLU"]
    assert predict(converted, x)[0].tobytes() == predict(model, x)[0].tobytes()
    assert converted.compiled


def test_a_stock_prelu_called_twice_stays_one_layer():
    inputs = keras.Input((6,))
    act = L.PReLU(alpha_initializer=keras.initializers.RandomUniform(0.1, 0.4, seed=0), name="act")
    model = keras.Model(inputs, act(L.Dense(6)(act(L.Dense(6)(inputs)))))
    converted = kp.convert(model, rescale="none")
    assert len(converted.trainable_variables) == len(model.trainable_variables) == 5
    x = models.samples(model)
    np.testing.assert_allclose(predict(converted, x)[0], predict(model, x)[0], rtol=1e-5, atol=1e-6)


def test_slopes_in_a_frozen_part_learn_on_request():
    model = models.nested()
    model.get_layer("backbone").trainable = False
    converted = kp.convert(model, rescale="none", train_frozen_slopes=True)
    names = {
        variable.path.rsplit("/", 1)[-1]
        for variable in converted.get_layer("backbone").trainable_variables
    }
    assert names == {"beta"}
    assert len(converted.trainable_variables) == len(model.trainable_variables) + 2


def test_slopes_inside_a_frozen_custom_layer_stay_frozen_and_say_so():
    model = custom.around(custom.Block(name="block"))
    model.get_layer("block").trainable = False
    assert not kp.convert(model, rescale="none").trainable_variables
    with pytest.warns(kp.errors.KerasPReLUWarning, match="'block' stay frozen"):
        assert not kp.convert(model, rescale="none", train_frozen_slopes=True).trainable_variables


def test_a_frozen_layer_inside_a_custom_layer_stays_frozen_with_its_slopes():
    model = custom.around(custom.Block(name="block"))
    model.get_layer("block").first.trainable = False
    converted = kp.convert(model, rescale="none")
    assert len(converted.trainable_variables) == len(model.trainable_variables) + 6
    assert not dict(prelu_layers(converted))["block/first_prelu"].trainable
    with pytest.warns(kp.errors.KerasPReLUWarning, match="'block' stay frozen"):
        kp.convert(model, rescale="none", train_frozen_slopes=True)


@pytest.mark.parametrize(
    "layer",
    [L.Dense(4, activation="relu", activity_regularizer="l2"), L.ReLU(activity_regularizer="l2")],
)
def test_an_activity_regularizer_goes_with_the_activation(layer):
    model = models.live_in(keras.Sequential([keras.Input((6,)), L.Dense(4), layer]))
    x = models.samples(model)
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    model(x), converted(x)
    before, after = (
        sum(float(keras.ops.convert_to_numpy(loss)) for loss in each.losses)
        for each in (model, converted)
    )
    assert before > 0
    np.testing.assert_allclose(after, before, rtol=1e-6)
    again = type(converted).from_config(converted.get_config())
    again(x)
    assert len(again.losses) == 1


@pytest.mark.filterwarnings(
    "ignore:Layer .* does not have a `quantize`:UserWarning"
)  # Keras's, about the input
def test_quantized_models_are_refused():
    model = models.mlp()
    model.quantize("int8")
    with pytest.raises(
        kp.KerasPReLUError, match=r"'first' \(Dense\) is quantized \(int8\).*before"
    ):
        kp.convert(model, rescale="none")


def test_initializers_are_kept():
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(4, activation="relu", kernel_initializer="he_normal")]
    )
    converted = kp.convert(model, rescale="none", include="*")
    assert converted.layers[0].get_config() == {
        **model.layers[0].get_config(),
        "activation": "linear",
    }


def test_seeds_are_kept():
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(6, activation="relu"), L.Dropout(0.5, seed=7)]
    )
    x = models.samples(model)
    model(x, training=True)
    converted = kp.convert(
        model, alpha=0.0, parameterization="identity", rescale="none", include="*"
    )
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(converted(x, training=True)),
        keras.ops.convert_to_numpy(model(x, training=True)),
    )


def test_models_deeper_than_python_recurses():
    limit, layers = sys.getrecursionlimit(), 200
    inputs = x = keras.Input((2,))
    for _ in range(layers):
        x = L.ReLU()(L.Dense(2)(x))
    model = keras.Model(inputs, x)
    low = len(inspect.stack()) + 2 * layers
    sys.setrecursionlimit(low)
    try:
        converted = kp.convert(model, rescale="none", include="*")
        assert (sys.getrecursionlimit(), gc.isenabled()) == (low, True)
    finally:
        sys.setrecursionlimit(limit)
    assert len(list(prelu_layers(converted))) == layers
