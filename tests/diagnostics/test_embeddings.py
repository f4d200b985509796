"""keras_prelu.diagnostics.embeddings: collapsed, isotropic and low-rank embeddings are told apart (claim 10)."""

import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import embeddings

RNG = np.random.default_rng(0)


def test_isotropic_ones_use_all_directions():
    found = embeddings(RNG.normal(size=(20000, 16)))
    assert found.spread == pytest.approx(1.0, abs=0.01)
    assert found.rank == pytest.approx(16.0, rel=0.01)
    assert found.participation == pytest.approx(16.0, rel=0.01)
    assert found.cosine == pytest.approx(0.0, abs=0.01)


def test_embeddings_that_are_all_the_same_have_collapsed():
    found = embeddings(np.tile(RNG.normal(size=(1, 16)), (100, 1)))
    assert found.spread == pytest.approx(0.0, abs=1e-7)
    assert found.rank == pytest.approx(1.0)
    assert found.participation == 0.0
    assert found.cosine == pytest.approx(1.0)


def test_a_known_rank():
    """Three orthogonal directions of the same length, and twice the same number in one: λ = (4, 1, 1) gives 36/18."""
    basis = np.linalg.qr(RNG.normal(size=(8, 8)))[0][:3]
    coordinates = np.concatenate([np.eye(3), -np.eye(3)])
    found = embeddings(coordinates @ basis)
    assert found.rank == pytest.approx(3.0)
    assert found.participation == pytest.approx(3.0)
    assert found.cosine == pytest.approx(-6 / 30)  # three opposite pairs, all others orthogonal
    assert embeddings(coordinates * [2, 1, 1] @ basis).participation == pytest.approx(2.0)


def test_scales_of_rows_do_not_matter_to_spread_and_cosine():
    z = RNG.normal(size=(50, 4))
    one, other = embeddings(z), embeddings(z * RNG.uniform(0.1, 10, (50, 1)))
    assert (one.spread, one.cosine) == pytest.approx((other.spread, other.cosine))


@pytest.mark.parametrize("z", [np.zeros((1, 3)), np.zeros(3), np.zeros((3, 0)), np.full((3, 3), np.nan)])
def test_what_are_no_embeddings(z):
    with pytest.raises(kp.errors.DataError, match="samples, dimensions"):
        embeddings(z)
    assert embeddings(np.zeros((3, 3))).participation == 0.0
