"""keras_prelu.parameterizations: the maps of claim 5 against their closed forms."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_prelu import parameterizations, theory

MAPS = parameterizations.names()


@pytest.mark.parametrize("name", MAPS)
@given(beta=st.floats(-6, 6, width=32))
def test_alpha_equals_the_closed_form(name, beta):
    alpha = parameterizations.get(name).alpha(keras.ops.convert_to_tensor(np.float32([beta])))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(alpha)[0], theory.slope(name, beta), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", MAPS)
@given(alpha=st.floats(1e-6, 0.999))
def test_beta_inverts_alpha(name, alpha):
    np.testing.assert_allclose(
        theory.slope(name, parameterizations.get(name).beta(alpha)), alpha, rtol=1e-9
    )


@pytest.mark.parametrize("name", MAPS)
def test_positive_says_what_the_range_is(name):
    map_ = parameterizations.get(name)
    assert map_.positive == (not bool(map_.contains(np.array(0.0))))
    assert not map_.contains(np.array(-1.0)) or name == "identity"


@pytest.mark.parametrize(
    ("name", "able"),
    [
        ("exp", "'square' and 'identity'"),
        ("softplus", "'square' and 'identity'"),
        ("sigmoid", "'square' and 'identity'"),
    ],
)
def test_a_slope_out_of_range_names_the_maps_that_can(name, able):
    with pytest.raises(ValueError, match=able):
        parameterizations.get(name).beta(0.0)


def test_get_and_serialize():
    square = parameterizations.Square(allow_zero=True)
    assert parameterizations.get(square) is square
    assert parameterizations.get("exp") == parameterizations.Exp()
    assert parameterizations.get(parameterizations.Exp) == parameterizations.Exp()
    assert parameterizations.serialize(parameterizations.Exp()) == "exp"
    assert parameterizations.get(parameterizations.serialize(square)) == square
    with pytest.raises(ValueError, match=r"'sigmoid'.*Received: parameterization=3"):
        parameterizations.get(3)


def test_a_map_of_the_users_own(tmp_path):
    @keras.saving.register_keras_serializable(package="test")
    class Half(parameterizations.Parameterization):
        name, interval, positive = "half", "(0, 1/2)", True

        def alpha(self, beta):
            return 0.5 * keras.ops.sigmoid(beta)

        def contains(self, alpha):
            return (alpha > 0) & (alpha < 0.5)

        def _inverse(self, alpha):
            return np.log(alpha / (0.5 - alpha))

    try:
        from keras_prelu import PReLU

        model = keras.Sequential([keras.Input((2,)), PReLU(0.25, parameterization="half")])
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(loaded.layers[0].alpha), 0.25, rtol=1e-6
        )
    finally:
        del parameterizations._REGISTRY["half"]


def test_maps_are_equal_where_class_and_configuration_are():
    exp, softplus, square, with_zero = (
        parameterizations.Exp(),
        parameterizations.Softplus(),
        parameterizations.Square(),
        parameterizations.Square(allow_zero=True),
    )
    assert exp == parameterizations.Exp()
    assert exp != softplus
    assert square != with_zero
    assert len({exp, parameterizations.Exp(), softplus, square, with_zero}) == 4
    assert hash(exp) != hash(softplus)
    assert hash(square) != hash(with_zero)
    assert (repr(exp), repr(square), repr(with_zero)) == (
        "Exp()",
        "Square()",
        "Square(allow_zero=True)",
    )
    assert (square.get_config(), with_zero.get_config()) == ({}, {"allow_zero": True})


def test_the_ends_of_the_ranges():
    assert set(MAPS) >= {"exp", "square", "softplus", "sigmoid", "identity"}
    for name, zero, one in (
        ("exp", False, True),
        ("square", True, True),
        ("softplus", False, True),
        ("sigmoid", False, False),
    ):
        assert [
            bool(parameterizations.get(name).contains(np.array(slope))) for slope in (0.0, 1.0)
        ] == [zero, one]
    with pytest.raises(ValueError, match="finite"):
        parameterizations.get("exp").beta([0.1, np.inf])


def test_a_square_that_starts_at_zero_is_refused_with_the_ways_out():
    with pytest.raises(ValueError) as caught:
        parameterizations.Square().beta(0.0)
    assert (
        str(caught.value)
        == "An initial slope of exactly 0 never moves under parameterization 'square': dα/dβ = 2β"
        " is 0 there. Start from a positive slope, use 'identity', or ask for it with"
        " keras_prelu.parameterizations.Square(allow_zero=True)."
    )
    np.testing.assert_array_equal(
        parameterizations.Square(allow_zero=True).beta([0, 4]), [0.0, 2.0]
    )
