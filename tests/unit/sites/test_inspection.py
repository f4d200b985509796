"""keras_prelu.sites.inspection: the sites inside custom layers and subclassed models."""

import keras
import pytest

import keras_prelu as kp
from tests.helpers import custom

L = keras.layers


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
        ("code/relu()", "code", False),
        ("code/relu6()", "code", False),
    ]
    assert "keras.layers.ReLU()" in sites[-1].reason


def test_a_class_that_cannot_be_rebuilt_says_which_method_is_missing():
    model = custom.around(custom.Unconfigured(L.Dense(4), lambda x: x, name="odd"), shape=(3,))
    (site,) = kp.find_sites(model)
    assert not site.convertible
    assert "get_config()" in site.reason
    assert "'odd' (Unconfigured)" in site.reason


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
