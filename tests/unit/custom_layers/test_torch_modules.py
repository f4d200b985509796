"""keras_prelu.custom_layers.torch_modules: PyTorch's modules inside Keras models."""

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812

import keras_prelu as kp
from keras_prelu.sites.prelu_layers import prelu_layers

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="Keras runs modules on PyTorch alone"
)
X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 4)

    def forward(self, x):
        return torch.nn.functional.relu(self.linear(x))


class Net(keras.Model):
    def __init__(self, *parts):
        super().__init__()
        self.parts, self.head = list(parts), L.Dense(2)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return self.head(x)


def built(*parts):
    model = Net(*parts)
    model(X)
    return model


@pytest.mark.parametrize(
    ("module", "slope", "cap"),
    [
        (torch.nn.ReLU(), 0.0, None),
        (torch.nn.ReLU6(), 0.0, 6.0),
        (torch.nn.LeakyReLU(0.1), 0.1, None),
        (torch.nn.Hardtanh(0.0, 2.0), 0.0, 2.0),
    ],
)
def test_a_module_that_is_a_rectifier_is_converted(module, slope, cap):
    model = built(L.Dense(5), L.TorchModuleWrapper(module))
    (site,) = kp.find_sites(model)
    assert (site.path, site.negative_slope, site.max_value) == ("parts[1]", slope, cap)
    assert site.convertible
    expected = model(X).detach().numpy()
    converted = kp.convert(model)
    np.testing.assert_array_equal(converted(X).detach().numpy(), expected)
    ((_, layer),) = prelu_layers(converted)
    layer.beta.assign(np.full(layer.beta.shape, 0.5))
    hidden = model.parts[0](X).detach().numpy()
    hidden = np.minimum(np.where(hidden > 0, hidden, 0.5 * hidden), cap or np.inf)
    np.testing.assert_allclose(
        converted(X).detach().numpy(), model.head(hidden).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_rectifiers_inside_modules_are_listed_with_the_reason():
    sequence = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU(), torch.nn.LeakyReLU(0.1))
    model = built(L.TorchModuleWrapper(sequence), L.TorchModuleWrapper(Own()))
    sites = kp.find_sites(model)
    assert [(site.path, site.layer, site.negative_slope) for site in sites] == [
        ("parts[0]/1", "ReLU", 0.0),
        ("parts[0]/2", "LeakyReLU", 0.1),
        ("parts[1]", "Own", 0.0),
    ]
    assert not any(site.convertible for site in sites)
    assert all("a module of PyTorch" in site.reason for site in sites)
    with pytest.raises(kp.errors.ConversionError, match=r"3 found.*keras\.layers\.ReLU"):
        kp.convert(model)


def test_other_modules_are_no_sites():
    model = built(
        L.TorchModuleWrapper(torch.nn.Tanh()),
        L.TorchModuleWrapper(torch.nn.Linear(3, 3)),
        L.ReLU(),
    )
    assert [site.path for site in kp.find_sites(model)] == ["parts[2]"]
