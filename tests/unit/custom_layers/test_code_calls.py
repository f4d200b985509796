"""keras_prelu.custom_layers.code_calls: rectifiers that Python code calls as functions are
converted, each call for itself, exactly, and come back from a file."""

import importlib.util
import threading

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812
from keras import ops

import keras_prelu as kp
from keras_prelu.custom_layers.code_keys import passes_of, with_passes, without_passes
from keras_prelu.sites.prelu_layers import prelu_layers
from tests.helpers import calling

pytestmark = [
    pytest.mark.backends,
    # Keras's about the user's class, converted or not.
    pytest.mark.filterwarnings("ignore:.*does not have a `build:UserWarning"),
]

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
IDENTITY = {"alpha": 0.0, "parameterization": "identity", "rescale": "none", "include": "*"}


def around(layer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.Dense(3)(layer(inputs)))


def outputs(model):
    return keras.ops.convert_to_numpy(model(X))


def with_slopes(model, value=0.3):
    for number, (_, prelu) in enumerate(prelu_layers(model)):
        prelu.beta.assign(np.full(prelu.beta.shape, value + 0.05 * number))


@pytest.mark.parametrize("name", calling.all_layers())
def test_each_call_in_code_is_a_site(name, tmp_path):
    cls = calling.all_layers()[name]
    model = around(cls(name="x"))
    expected = outputs(model)
    sites = kp.find_sites(model)
    assert len(sites) == getattr(cls, "sites", 1)
    assert all(site.convertible and site.kind == "code" for site in sites)
    assert all(site.source.startswith("calling.py:") for site in sites)
    assert len({site.target for site in sites}) == len(sites)
    assert "call" not in vars(model.get_layer("x"))

    converted = kp.convert(model, **IDENTITY)
    np.testing.assert_array_equal(outputs(converted), expected)
    with_slopes(converted)
    moved = outputs(converted)
    assert not np.allclose(moved, expected)
    kp.save_model(converted, tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(kp.load_model(tmp_path / "model.keras")), moved)
    np.testing.assert_array_equal(outputs(model), expected)
    restored = kp.load_model(tmp_path / "model.keras")
    assert isinstance(restored.get_layer("x"), cls)


@pytest.mark.parametrize("cls", [calling.Method, calling.Loop])
def test_each_site_applies_its_own_slopes(cls):
    model = around(cls(name="x"))
    converted = kp.convert(model, **IDENTITY)
    with_slopes(converted)
    slopes = [0.3 + 0.05 * number for number in range(cls.sites)]
    layer = model.get_layer("x")
    kernel, bias, second_kernel, second_bias = (ops.convert_to_numpy(v) for v in layer.weights)
    x = X @ kernel + bias
    for index, slope in enumerate(slopes):
        if index or cls is calling.Loop:
            x = x @ second_kernel + second_bias
        x = np.where(x > 0, x, slope * x)
    head, offset = (ops.convert_to_numpy(v) for v in model.layers[-1].weights)
    np.testing.assert_allclose(outputs(converted), x @ head + offset, rtol=1e-4, atol=1e-5)


def test_all_slopes_learn_in_fit_and_predict_applies_them():
    model = around(calling.Loop(name="x"))
    converted = kp.convert(model, **IDENTITY)
    converted.compile("sgd", "mse")
    converted.fit(X, np.ones((16, 3), "float32"), epochs=2, verbose=0)
    for _, prelu in prelu_layers(converted):
        assert np.any(ops.convert_to_numpy(prelu.beta))
    np.testing.assert_allclose(
        converted.predict(X, verbose=0), outputs(converted), rtol=1e-4, atol=1e-5
    )


def test_kept_slopes_and_caps_are_those_of_the_calls():
    converted = kp.convert(around(calling.Leaky(name="x")), rescale="none", alpha=0.25)
    slopes = [float(ops.convert_to_numpy(p.alpha).mean()) for _, p in prelu_layers(converted)]
    np.testing.assert_allclose(slopes, [0.1, 0.2], rtol=1e-6)
    converted = kp.convert(around(calling.Clip(name="x")))
    assert [prelu.max_value for _, prelu in prelu_layers(converted)] == [2.0, 6.0, 3.0]


def test_a_loop_of_the_backend_shares_slopes_and_says_so():
    (site,) = kp.find_sites(around(calling.Scan(name="x")))
    assert "share slopes" in site.source
    sites = kp.find_sites(around(calling.Loop(name="x")))
    assert ["pass of a loop" in site.source for site in sites] == [False, True, True]


@calling.registered
class Gated(calling.Calls):
    def rectified(self, x):
        gate = ops.relu6(x + 3.0) / 6.0
        return gate * x + ops.sqrt(ops.relu(x)) + ops.relu(self.second(x))


@calling.registered
class RectifiesWeights(calling.Calls):
    def rectified(self, x):
        return x @ ops.relu(self.second.kernel * 1.0) + ops.relu(x)


def test_what_is_no_activation_is_left_alone():
    sites = kp.find_sites(around(Gated(name="x")))
    assert [site.on_request for site in sites] == [True, True, False]
    sites = kp.find_sites(around(RectifiesWeights(name="x")))
    assert [(site.path, site.on_request) for site in sites] == [("x/relu_2()", False)]
    output = keras.Model(i := keras.Input((6,)), calling.Op()(i))
    assert [site.on_request for site in kp.find_sites(output)] == [True]


@pytest.mark.parametrize("alpha", [0.25, "auto"])
def test_calls_in_code_are_calibrated(alpha):
    x = np.random.default_rng(1).normal(size=(512, 6)).astype("float32")
    model = around(calling.Method(name="x"))
    none = kp.convert(model, alpha=0.25, rescale="none")
    fitted = kp.convert(model, alpha=alpha, calibration_data=x)
    error = [np.mean((outputs(each) - outputs(model)) ** 2) for each in (none, fitted)]
    assert error[1] < 0.5 * error[0]


def test_dead_units_in_code_are_found():
    model = around(calling.Method(name="x"))
    layer = model.get_layer("x")
    layer.second.bias.assign([-100.0] + [1.0] * 5)
    kernel, bias, second_kernel, second_bias = (ops.convert_to_numpy(v) for v in layer.weights)
    hidden = np.maximum(X @ kernel + bias, 0)
    expected = [
        int((~(values > 0).any(axis=0)).sum())
        for values in (X @ kernel + bias, hidden @ second_kernel + second_bias)
    ]
    assert expected[1] >= 1
    found = kp.diagnostics.dead_units(model, X)
    assert [(each.path, each.dead) for each in found] == [
        ("x/relu()", expected[0]),
        ("x/relu_2()", expected[1]),
    ]


def test_other_layers_and_threads_keep_their_relu():
    model = around(calling.Op(name="x"))
    converted = kp.convert(model, **IDENTITY)
    with_slopes(converted)
    expected = outputs(model)
    results = []

    def run():
        results.append(outputs(model))

    thread = threading.Thread(target=run)
    layer = converted.get_layer("x")
    written = layer.dense.call

    def with_another_thread(*args, **kwargs):
        if not results and not thread.is_alive():
            thread.start()
            thread.join()
        return written(*args, **kwargs)

    vars(layer.dense)["call"] = with_another_thread
    converted(X)
    np.testing.assert_array_equal(results[0], expected)
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.relu(X)), np.maximum(X, 0))


def test_conversion_back_gives_the_code_its_functions(tmp_path):
    model = around(calling.Inner(name="x"))
    converted = kp.convert(model, **IDENTITY)
    baked = kp.bake(converted)
    np.testing.assert_array_equal(outputs(baked), outputs(model))
    assert not list(prelu_layers(baked))


SOURCE = """
import keras
from keras import ops

@keras.saving.register_keras_serializable("changing")
class Changing(keras.layers.Layer):
    def call(self, x):
        BODY

    def get_config(self):
        return super().get_config()
"""


def module(folder, name, body):
    """Import a module that defines `Changing` with the body of a `call`, and return the class."""
    lines = ("\n" + " " * 8).join(body)
    path = folder / f"{name}.py"
    path.write_text(SOURCE.replace("BODY", lines))
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.Changing


BODY = ["y = ops.relu(x)", "return ops.relu(y - 0.1) + ops.relu(x)"]


@pytest.mark.parametrize(
    ("body", "gone"),
    [
        (
            [
                "# A comment.",
                "y = ops.relu(x)",
                "z = y - 0.1",
                "return ops.relu(y - 0.1) + ops.relu(x)",
            ],
            "",
        ),
        (["y = ops.relu(x)", "return ops.relu(y - 0.2) + ops.relu(x)"], "ops.relu(y - 0.1)"),
        (["x = ops.relu(x)", *BODY], "ops.relu(x)@1/2"),
        (["y = ops.relu(x)", "return y + ops.relu(y - 0.1)"], "ops.relu(x)@1/2"),
    ],
)
def test_slopes_of_code_that_has_changed_are_not_applied_elsewhere(body, gone, tmp_path):
    model = around(module(tmp_path, "before", BODY)(name="x"))
    converted = kp.convert(model, **IDENTITY)
    with_slopes(converted)
    expected = outputs(converted)
    kp.save_model(converted, tmp_path / "model.keras")
    module(tmp_path, "after", body)
    if not gone:
        np.testing.assert_array_equal(outputs(kp.load_model(tmp_path / "model.keras")), expected)
        return
    with pytest.raises(
        kp.errors.KerasPReLUError, match="is not what it was at the conversion"
    ) as info:
        outputs(kp.load_model(tmp_path / "model.keras"))
    assert f"`{gone}`" in str(info.value)
    assert "'x' (Changing)" in str(info.value)


def test_functions_of_the_backend_are_followed():
    """Ranges, too: what a function of the backend passes on into a square root stays a ReLU."""
    sites = {site.path: site for site in kp.find_sites(around(backend_layer()(name="x")))}
    assert [site.on_request for site in sites.values()] == [False, False, True]
    model = around(backend_layer()(name="x"))
    converted = kp.convert(model)
    np.testing.assert_array_equal(outputs(converted), outputs(model))
    assert len(list(prelu_layers(converted))) == 2


def backend_layer():
    """Return a layer that calls functions of the present backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        relu, joined, root = tf.nn.relu, lambda each: tf.concat(each, axis=-1), tf.sqrt
    elif backend == "jax":
        import jax

        relu, joined, root = (
            jax.nn.relu,
            lambda each: jax.numpy.concatenate(each, -1),
            jax.numpy.sqrt,
        )
    else:
        import torch

        relu, joined, root = torch.relu, lambda each: torch.cat(each, dim=-1), torch.sqrt

    class Backend(calling.Calls):
        def rectified(self, x):
            both = joined([relu(x), relu(self.second(x))])
            return both[..., :6] + both[..., 6:] + root(joined([relu(x), x * x])[..., :6])

    return calling.registered(Backend)


@calling.registered
class Codec(calling.Calls):
    """Is used through its methods as well."""

    def encode(self, x):
        return ops.relu(self.dense(x))

    def decode(self, code):
        return ops.relu(self.second(code))

    def twice(self, x):
        return ops.relu(x)

    def call(self, x):
        return self.twice(self.twice(self.decode(self.encode(x))) - 1.0)


def test_methods_that_are_called_from_outside_apply_the_slopes(tmp_path):
    converted = kp.convert(around(Codec(name="x")), **IDENTITY)
    with_slopes(converted)
    kp.save_model(converted, tmp_path / "model.keras")
    for model in (converted, kp.load_model(tmp_path / "model.keras")):
        layer = model.get_layer("x")
        kernel, bias, second_kernel, second_bias = (
            ops.convert_to_numpy(v) for v in layer.weights[:4]
        )
        code = X @ kernel + bias
        code = np.where(code > 0, code, 0.3 * code)
        decoded = code @ second_kernel + second_bias
        decoded = np.where(decoded > 0, decoded, np.float32(0.35) * decoded)
        encode, decode = layer.encode(X), layer.decode(code)
        applied = ops.convert_to_numpy(layer.twice(code))  # At two places: as written.
        np.testing.assert_array_equal(applied, np.maximum(code, 0))
        np.testing.assert_allclose(ops.convert_to_numpy(encode), code, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ops.convert_to_numpy(decode), decoded, rtol=1e-4, atol=1e-5)


@calling.registered
class Varies(calling.Calls):
    """Makes as many passes, and skips what it is told to."""

    passes, skipped, slope = 3, (), 0.1

    def rectified(self, x):
        for index in range(self.passes):
            if index not in self.skipped:
                x = ops.leaky_relu(self.second(x), negative_slope=self.slope)
        return x


@pytest.mark.parametrize(
    "change", [{"passes": 2}, {"passes": 4}, {"skipped": (1,)}, {"slope": 0.2}]
)
def test_a_run_that_varies_is_refused(change):
    converted = kp.convert(around(Varies(name="x")))
    layer = converted.get_layer("x")
    for name, value in change.items():
        setattr(layer, name, value)
    with pytest.raises(kp.errors.ConversionError, match="is not what it was at the conversion"):
        outputs(converted)
    for name in change:
        setattr(layer, name, getattr(Varies, name))
    assert np.all(np.isfinite(outputs(converted)))


@pytest.mark.parametrize("exclude", [None, "x/relu()", "x/relu_2()", "x/relu_3()"])
def test_passes_of_a_loop_can_be_left_out(exclude, tmp_path):
    """Also those that are left out by default: the last one is the model's output."""
    inputs = keras.Input((6,))
    model = keras.Model(inputs, calling.Loop(name="x")(inputs))
    sites = kp.find_sites(model)
    assert [site.on_request for site in sites] == [False, False, True]
    converted = kp.convert(model, exclude=exclude)
    assert len(list(prelu_layers(converted))) == (1 if exclude in ("x/relu()", "x/relu_2()") else 2)
    np.testing.assert_array_equal(outputs(converted), outputs(model))
    with_slopes(converted)
    kp.save_model(converted, tmp_path / "model.keras")
    np.testing.assert_array_equal(
        outputs(kp.load_model(tmp_path / "model.keras")), outputs(converted)
    )
    assert np.all(
        np.isfinite(ops.convert_to_numpy(kp.diagnostics.dead_units(model, X)[0].negative))
    )


@calling.registered
class Decodes(calling.Calls):
    def decode(self, code):
        return ops.relu(code)

    def call(self, x):
        return self.decode(self.dense(x))


def test_methods_take_arrays():
    converted = kp.convert(around(Decodes(name="x")))
    with_slopes(converted)
    decoded = ops.convert_to_numpy(converted.get_layer("x").decode(X))
    np.testing.assert_allclose(decoded, np.where(X > 0, X, np.float32(0.3) * X), rtol=1e-6)


def step(carry, row):
    carry = ops.relu(carry + row)
    return carry, carry


@calling.registered
class ScansAFunction(calling.Calls):
    def rectified(self, x):
        return ops.scan(step, 0.0 * x, ops.stack([x, -x]))[0] + self.second(x)


def test_slopes_in_a_function_that_a_library_gets_are_not_kept_by_its_caches(tmp_path):
    model = around(ScansAFunction(name="x"))
    expected = outputs(model)
    converted = kp.convert(model, include="*")
    np.testing.assert_array_equal(outputs(converted), expected)
    converted.predict(X, verbose=0)
    with_slopes(converted)
    moved = outputs(converted)
    assert not np.allclose(moved, expected)
    converted.compile("sgd", "mse")
    converted.fit(X, np.ones((16, 3), "float32"), epochs=1, verbose=0)
    ((_, prelu),) = prelu_layers(converted)
    assert np.any(ops.convert_to_numpy(prelu.beta) != np.float32(0.3))
    np.testing.assert_allclose(
        converted.predict(X, verbose=0), outputs(converted), rtol=1e-4, atol=1e-5
    )
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs(loaded), outputs(converted), rtol=1e-5, atol=1e-6)


@calling.registered
class NamesItself(calling.Op):
    """Calls methods through its class, and has strings with arrows in its code."""

    def rectified(self, x):
        x = super(NamesItself, self).rectified(x) + NamesItself.act(self, x)  # noqa: UP008
        return ops.relu(ops.einsum("bi,ij -> bj", x, self.second.kernel))

    def act(self, x):
        return ops.relu(x)

    sites = 3


@calling.registered
class ReturnsMethods(calling.Calls):
    """`self.get(0)(x)` calls what a method returns, no method of that name."""

    def first(self, x):
        return ops.relu(x)

    def get(self, index):
        return (self.first, self.second)[index]

    def rectified(self, x):
        return self.get(1)(self.get(0)(x))


@calling.registered
class Switches(calling.Calls):
    def first(self, x):
        return ops.relu(x)

    def rectified(self, x):
        return ops.switch(0, [self.first, self.second], x)


@pytest.mark.parametrize("cls", [NamesItself, ReturnsMethods, Switches])
def test_other_ways_of_calling(cls, tmp_path):
    model = around(cls(name="x"))
    assert len(kp.find_sites(model)) == getattr(cls, "sites", 1)
    converted = kp.convert(model, include="*")
    np.testing.assert_array_equal(outputs(converted), outputs(model))
    with_slopes(converted)
    assert not np.allclose(outputs(converted), outputs(model))
    kp.save_model(converted, tmp_path / "model.keras")
    np.testing.assert_array_equal(
        outputs(kp.load_model(tmp_path / "model.keras")), outputs(converted)
    )


@calling.registered
class Limits(calling.Calls):
    """A maximum with a number that may change."""

    floor = 0.0

    def rectified(self, x):
        return ops.maximum(x, self.floor)


def test_a_call_that_rectifies_no_more_is_refused():
    converted = kp.convert(around(Limits(name="x")))
    converted.get_layer("x").floor = 0.1
    with pytest.raises(kp.errors.ConversionError, match="with other arguments"):
        outputs(converted)


def test_slopes_of_code_whose_source_is_gone_are_not_dropped(tmp_path):
    model = around(module(tmp_path, "before", BODY)(name="x"))
    kp.save_model(kp.convert(model), tmp_path / "model.keras")
    namespace = {"__name__": "without_source"}
    exec(SOURCE.replace("BODY", ("\n" + " " * 8).join(BODY)), namespace)
    with pytest.raises(kp.errors.KerasPReLUError, match="source is not known"):
        kp.load_model(tmp_path / "model.keras")


def test_slopes_in_a_frozen_layer_are_frozen():
    model = around(calling.Inner(name="x"))
    model.get_layer("x").blocks[0].trainable = False
    converted = kp.convert(model)
    assert [prelu.trainable for _, prelu in prelu_layers(converted)] == [False, True, True, True]


def test_sites_of_a_converted_layer_can_be_looked_up():
    """With a pass left out: what is left of the loop is expected as before."""
    converted = kp.convert(around(calling.Loop(name="x")), exclude="x/relu()")
    expected = outputs(converted)
    assert len(kp.find_sites(converted)) == 3
    kp.diagnostics.dead_units(converted, X)
    np.testing.assert_array_equal(outputs(converted), expected)


class Plain:
    def act(self, x):
        return ops.relu(x)


PLAIN = Plain()


@calling.registered
class OfAnObject(calling.Calls):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.plain = Plain()

    def rectified(self, x):
        return self.plain.act(x)


@calling.registered
class InABranch(calling.Calls):
    """Calls a helper in a branch that inference does not take."""

    def helper(self, x):
        return ops.relu(x)

    def call(self, x, training=False):
        x = ops.relu(self.dense(x))
        return self.helper(self.second(x)) if training else self.second(x)


@pytest.mark.parametrize(("cls", "count"), [(OfAnObject, 1), (InABranch, 2)])
def test_code_beside_the_layer_and_in_other_modes_is_followed(cls, count, tmp_path):
    model = around(cls(name="x"))
    assert len(kp.find_sites(model)) == count
    converted = kp.convert(model, include="*")
    np.testing.assert_array_equal(outputs(converted), outputs(model))
    with_slopes(converted)
    kp.save_model(converted, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded), outputs(converted))
    training = [ops.convert_to_numpy(each(X, training=True)) for each in (loaded, converted, model)]
    np.testing.assert_array_equal(training[0], training[1])
    assert not np.allclose(training[1], training[2])


@calling.registered
class HoldsAndCalls(calling.Calls):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.held = keras.activations.relu
        self.layer = L.ReLU()

    def rectified(self, x):
        return self.held(x) + self.layer(x - 1.0) + ops.relu(self.second(x))


def test_what_is_held_is_listed_once():
    model = around(HoldsAndCalls(name="x"))
    sites = kp.find_sites(model)
    assert {site.path for site in sites} == {"x/held", "x/layer", "x/relu()"}
    assert all(site.convertible for site in sites)
    assert len(sites) == 3
    for excluded in ("x/layer", "x/held", "x/relu()"):
        converted = kp.convert(model, exclude=excluded)
        np.testing.assert_array_equal(outputs(converted), outputs(model))
        assert len(list(prelu_layers(converted))) == 2


def test_keys_say_how_many_passes_there_are():
    keys = ["f(x) -> relu(y)", "f(x) [pass 2] -> relu(y) {slope 0.1, cap None}", "g(x) -> relu(z)"]
    passes = passes_of([*keys, "f(x) [pass 3] [0. argument] -> relu(y)"])
    assert passes["f(x)"] == 3
    written = [with_passes(key, passes) for key in keys]
    assert written == [
        "f(x) [pass 1 of 3] -> relu(y)",
        "f(x) [pass 2 of 3] -> relu(y) {slope 0.1, cap None}",
        "g(x) -> relu(z)",
    ]
    assert [without_passes(each) for each in written] == [
        (keys[0], {"f(x)": 3}),
        (keys[1], {"f(x)": 3}),
        (keys[2], {}),
    ]
