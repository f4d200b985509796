"""keras_prelu.sites.inspection: the sites inside custom layers and subclassed models."""

import functools
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras.ops import relu as rectify

import keras_prelu as kp
from tests.helpers import custom, models

A, L, ops = keras.activations, keras.layers, keras.ops


def convertible(model):
    return [site.path for site in kp.find_sites(model) if site.convertible]


def test_paths_name_the_attributes_that_lead_to_a_site():
    model = custom.around(custom.Block(name="block"))
    assert convertible(model) == [f"block/{path}" for path in custom.BLOCK_PATHS]
    by_path = {site.path: site for site in kp.find_sites(model)}
    assert (by_path["block/relu"].channels, by_path["block/relu#2"].channels) == (4, 8)
    assert (by_path["block/act"].kind, by_path["block/act"].layer) == ("function", "Block")
    assert (by_path["block/stack[1]"].max_value, by_path["block/_hidden"].negative_slope) == (
        6.0,
        0.1,
    )


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="PyTorch's symbolic tensors have values"
)
def test_a_layer_that_fails_on_symbolic_tensors_does_not_affect_others():
    sites = {site.path: site for site in kp.find_sites(custom.KnownByItsClass("NeedsNumbers"))}
    assert (sites["last"].channels, sites["last"].convertible) == (3, True)
    assert not sites["inner/relu"].convertible
    assert (
        "layer 'inner' (NeedsNumbers) can't be called on symbolic tensors"
        in sites["inner/relu"].reason
    )


def test_gates_inside_layers_are_not_convertible():
    gate, excite = (
        custom.around(custom.HardSigmoid(name="gate")),
        custom.around(custom.SqueezeExcite(name="se")),
    )
    assert {site.path: site.reason for site in kp.find_sites(gate)} == {
        "gate/relu6": "it is a hard-sigmoid gate, whose range matters"
    }
    assert [(site.path, "gate" in site.reason) for site in kp.find_sites(excite)] == [
        ("se/squeeze", False),
        ("se/gate", True),
    ]


def test_functions_in_python_code_are_listed():
    sites = kp.find_sites(custom.around(custom.CallsFunctions(name="code"), shape=(3,)))
    assert [(site.path, site.kind, site.convertible) for site in sites] == [
        ("code/dense", "inline", True),
        ("code/relu()", "code", True),
        ("code/relu6()", "code", True),
    ]
    assert sites[-1].source.startswith("custom.py:")
    assert sites[-1].source.endswith(" in CallsFunctions.call")


def test_a_class_that_cannot_be_copied_says_which_method_is_missing():
    layer = custom.Unconfigured(L.Dense(4), lambda x: x, name="odd")
    layer.hidden = (layer.inner for _ in range(2))  # No object that can be duplicated.
    (site,) = kp.find_sites(custom.around(layer, shape=(3,)))
    assert not site.convertible
    assert "get_config()" in site.reason
    assert "'odd' (Unconfigured)" in site.reason
    assert "`hidden`" in site.reason


def test_find_sites_leaves_layers_and_graph_unchanged():
    model = custom.around(custom.Block(name="block"))
    block = model.get_layer("block")
    layers = [model, *model._flatten_layers(include_self=False)]
    before = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes), dict(vars(layer)))
        for layer in layers
    ]
    kp.find_sites(model)
    for layer, (inbound, outbound, attributes) in zip(layers, before, strict=True):
        assert (len(layer._inbound_nodes), len(layer._outbound_nodes)) == (inbound, outbound)
        assert {name: id(value) for name, value in vars(layer).items()} == {
            name: id(value) for name, value in attributes.items()
        }
    assert "call" not in vars(block.relu)


def helper(inputs):
    return ops.relu(inputs)


class Holds(L.Layer):
    """Holds functions in one attribute; each subclass applies them in its own way."""

    functions: ClassVar = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.held = type(self).functions

    def build(self, shape):
        self.built = True

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return super().get_config()


class InAList(Holds):
    functions: ClassVar = [A.relu, A.tanh, A.relu6]

    def call(self, inputs):
        return self.held[2](self.held[0](inputs) - 0.1)


class InADict(Holds):
    functions: ClassVar = {"a": A.relu, "b": lambda x: ops.maximum(x, 0.1 * x), "c": A.gelu}

    def call(self, inputs):
        return self.held["a"](self.held["b"](inputs) - 0.1)


class InATuple(Holds):
    functions: ClassVar = (functools.partial(A.relu, max_value=2), A.leaky_relu)

    def call(self, inputs):
        return self.held[1](self.held[0](inputs) - 0.1)


class Nested(Holds):
    functions: ClassVar = [{"a": (A.tanh, A.relu)}, [A.relu6]]

    def call(self, inputs):
        return self.held[1][0](self.held[0]["a"][1](inputs) - 0.1)


class InALoop(Holds):
    functions: ClassVar = [A.relu, A.leaky_relu]

    def call(self, inputs):
        for function in self.held:
            inputs = function(inputs - 0.1)
        return inputs


class GetsFunction(Holds):
    functions: ClassVar = staticmethod(lambda x: ops.maximum(x, 0.0))

    def call(self, inputs):
        return A.get(self.held)(inputs)


class Around(Holds):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = InAList()

    def call(self, inputs):
        return self.inner(inputs)


class GetsName(Holds):
    functions: ClassVar = "relu"

    def call(self, inputs):
        return A.get(self.held)(inputs)


class GetsAttribute(GetsName):
    def call(self, inputs):
        return getattr(ops, self.held)(inputs)


class CallsAHelper(Holds):
    def call(self, inputs):
        return helper(inputs)


class CallsAnAlias(Holds):
    def call(self, inputs):
        return rectify(inputs)


class CallsMaximum(Holds):
    def call(self, inputs):
        return ops.maximum(inputs, 0)


class AroundCode(Holds):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = GetsName()

    def call(self, inputs):
        return self.inner(inputs)


class GetsNameOfNumbers(GetsName):
    """Can't be called on symbolic tensors."""

    def call(self, inputs):
        return A.get(self.held)(inputs) if len(np.asarray(inputs)) else inputs

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, inputs.dtype)


class AppliesNone(Holds):
    functions: ClassVar = [A.relu, lambda x: 1 / 0]

    def call(self, inputs):
        return inputs + len(self.held)


@pytest.mark.parametrize(
    ("layer", "paths"),
    [
        (InAList, ["held[0]", "held[2]"]),
        (InADict, ["held[b]", "held[a]"]),
        (InATuple, ["held[0]", "held[1]"]),
        (Nested, ["held[0][a][1]", "held[1][0]"]),
        (InALoop, ["held[0]", "held[1]"]),
        (GetsFunction, ["held"]),
        (Around, ["inner/held[0]", "inner/held[2]"]),
        (AppliesNone, []),
    ],
)
def test_functions_in_collections_are_converted(layer, paths, tmp_path):
    keras.saving.register_keras_serializable("inspection")(layer)
    keras.saving.register_keras_serializable("inspection")(InAList)
    model = models.live_in(custom.around(layer(name="x"), L.Dense(2, "relu"), shape=(6,)))
    assert convertible(model)[:-1] == [f"x/{path}" for path in paths]
    x = models.samples(model, 8)
    expected = ops.convert_to_numpy(model(x))
    exact = kp.convert(model, alpha=0.0, parameterization="identity", rescale="none", include="*")
    np.testing.assert_array_equal(ops.convert_to_numpy(exact(x)), expected)
    moved = kp.convert(
        model,
        alpha=0.5,
        parameterization="identity",
        rescale="none",
        keep_slopes=False,
        include="*",
    )
    outputs = ops.convert_to_numpy(moved(x))
    assert not np.allclose(outputs, expected)
    kp.save_model(moved, tmp_path / "model.keras")
    loaded = kp.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), outputs)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), expected)


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        (GetsName, "relu()"),
        (GetsAttribute, "relu()"),
        (CallsAHelper, "relu()"),
        (CallsAnAlias, "relu()"),
        (CallsMaximum, "relu()"),
        (AroundCode, "inner/relu()"),
    ],
)
def test_functions_that_code_calls_are_listed(layer, path):
    (site,) = kp.find_sites(custom.around(layer(name="x"), shape=(6,)))
    assert (site.path, site.kind) == (f"x/{path}", "code")
    # The output of the model.
    assert site.convertible
    assert site.on_request


@pytest.mark.parametrize("functions", [("relu",), ("relu6", "relu6")])
def test_functions_in_code_without_a_source_are_listed(functions):
    namespace = {"Holds": Holds, "ops": ops, "__name__": "unknown"}
    calls = "".join(f"    x = ops.{name}(x)\n" for name in functions)
    exec(f"class Unknown(Holds):\n  def call(self, x):\n{calls}    return x", namespace)
    model = custom.around(namespace["Unknown"](name="x"), L.Dense(2), shape=(6,))
    sites = kp.find_sites(model)
    assert [(site.path, site.kind, site.convertible) for site in sites] == [
        (f"x/{name}()" + (f"#{number + 1}" if number else ""), "code", False)
        for number, name in enumerate(functions)
    ]
    assert "can't be followed" in sites[0].reason


@pytest.mark.parametrize(
    ("layer", "site"),
    [
        (lambda: L.Dense(4, activation="relu"), ("x/layer", "inline", True)),
        (lambda: L.Dense(4, activation=lambda x: ops.maximum(x, 0)), ("x/layer", "inline", True)),
        (lambda: InAList(), ("x/layer/held[0]", "function", True)),
        (lambda: GetsName(), ("x/layer/relu()", "code", True)),
        (lambda: CallsMaximum(), ("x/layer/relu()", "code", True)),
    ],
)
@pytest.mark.parametrize("steps", [5, None])
def test_a_time_distributed_layer_has_the_sites_of_one_step(layer, site, steps):
    if steps is None and keras.backend.backend() == "jax":
        pytest.skip("Keras's TimeDistributed counts the steps, which JAX does not know")
    for cls in (GetsName, CallsMaximum, InAList):
        keras.saving.register_keras_serializable("inspection")(cls)
    model = custom.around(L.TimeDistributed(layer(), name="x"), shape=(steps, 6))
    sites = [(site.path, site.kind, site.convertible) for site in kp.find_sites(model)]
    assert sites[0] == site
    assert len(sites) == (2 if "held" in site[0] else 1)


def test_layers_that_are_called_past_their_call_are_listed_once():
    class Direct(Holds):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.relu = L.ReLU()

        def call(self, inputs):
            return self.relu.call(inputs)

    (site,) = kp.find_sites(custom.around(Direct(name="x"), shape=(6,)))
    assert (site.path, site.convertible) == ("x/relu", True)


def test_functions_that_a_layer_does_not_apply_are_not_called():
    called = []

    class Loads(Holds):
        functions = staticmethod(called.append)

        def load(self, path):
            self.held(path)

        def call(self, inputs):
            return ops.relu(inputs)

    kp.find_sites(custom.around(Loads(name="x"), shape=(6,)))
    assert called == []


@pytest.mark.parametrize("scaled", [lambda x: x * 2.0, lambda x: x * np.ones(4, "float32")])
def test_layers_with_code_may_follow_a_product_with_a_number(scaled):
    """Keras marks such products as sparse tensors, which not every backend has."""
    inputs = keras.Input((4,))
    outputs = L.Dense(2)(custom.BuildsLate(name="late")(scaled(inputs)))
    assert convertible(keras.Model(inputs, outputs)) == ["late/dense", "late/late"]


@keras.saving.register_keras_serializable("tests")
class Branching(keras.Model):
    """Uses its rectifier in a branch alone, of which no graph knows."""

    def __init__(self):
        super().__init__()
        self.act = L.ReLU(name="act")
        self.dense = L.Dense(2)

    def call(self, inputs):
        h = self.act(inputs)
        sign = keras.ops.mean(inputs) >= 0
        return self.dense(keras.ops.cond(sign, lambda: keras.ops.sqrt(h), lambda: h))


@pytest.mark.parametrize("size", [1, 3])
def test_a_site_of_a_branch_in_a_subclassed_model_is_listed(size):
    model = Branching()
    model(np.ones((size, 4), "float32"))
    (site,) = kp.find_sites(model)
    assert (site.path, site.convertible, site.on_request) == ("act", True, True)
    assert "can't be followed" in site.reason
