"""keras_prelu.diagnostics.embeddings: collapsed, isotropic and low-rank embeddings are told apart
(claim 10)."""

import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics import collapse_alarms, embedding_statistics

RNG = np.random.default_rng(0)


def test_isotropic_ones_use_all_directions():
    statistics = embedding_statistics(RNG.normal(size=(20000, 16)))
    assert statistics.spread == pytest.approx(1.0, abs=0.01)
    assert statistics.rank == pytest.approx(16.0, rel=0.01)
    assert statistics.participation == pytest.approx(16.0, rel=0.01)
    assert statistics.cosine == pytest.approx(0.0, abs=0.01)


def test_embeddings_that_are_all_the_same_have_collapsed():
    statistics = embedding_statistics(np.tile(RNG.normal(size=(1, 16)), (100, 1)))
    assert statistics.spread == pytest.approx(0.0, abs=1e-7)
    assert statistics.rank == pytest.approx(1.0)
    assert statistics.participation == 0.0
    assert statistics.cosine == pytest.approx(1.0)


def test_a_known_rank():
    """Three orthogonal directions of the same length; one of twice the length makes λ = (4, 1, 1).

    Their participation ratio is 36/18.
    """
    basis = np.linalg.qr(RNG.normal(size=(8, 8)))[0][:3]
    coordinates = np.concatenate([np.eye(3), -np.eye(3)])
    statistics = embedding_statistics(coordinates @ basis)
    assert statistics.rank == pytest.approx(3.0)
    assert statistics.participation == pytest.approx(3.0)
    assert statistics.cosine == pytest.approx(
        -6 / 30
    )  # three opposite pairs, all others orthogonal
    assert embedding_statistics(coordinates * [2, 1, 1] @ basis).participation == pytest.approx(2.0)


def test_scales_of_rows_do_not_matter_to_spread_and_cosine():
    z = RNG.normal(size=(50, 4))
    one, other = embedding_statistics(z), embedding_statistics(z * RNG.uniform(0.1, 10, (50, 1)))
    assert (one.spread, one.cosine) == pytest.approx((other.spread, other.cosine))


@pytest.mark.parametrize(
    "z", [np.zeros((1, 3)), np.zeros(3), np.zeros((3, 0)), np.full((3, 3), np.nan)]
)
def test_invalid_embeddings_are_refused(z):
    with pytest.raises(kp.errors.DataError, match="samples, dimensions"):
        embedding_statistics(z)
    assert embedding_statistics(np.zeros((3, 3))).participation == 0.0


def noisy_line(noise, seed, width=8):
    """Embeddings near one direction."""
    rng = np.random.default_rng(seed)
    return embedding_statistics(np.ones(width) + noise * rng.normal(size=(200, width)))


def test_alarms_are_set_by_the_positive_control():
    healthy, collapsed = (
        [noisy_line(noise, 1) for noise in (3.0, 4.0)],
        [noisy_line(noise, 2) for noise in (0.01, 0.02)],
    )
    for noise, expected in ((3.5, False), (0.015, True)):
        alarms = collapse_alarms(noisy_line(noise, 3), healthy=healthy, collapsed=collapsed)
        by_measure = {alarm.measure: alarm for alarm in alarms}
        assert {"spread", "rank", "cosine"} <= set(by_measure)
        assert by_measure["spread"].threshold == pytest.approx(
            (healthy[0].spread + collapsed[1].spread) / 2
        )
        assert by_measure["cosine"].threshold == pytest.approx(
            (healthy[0].cosine + collapsed[1].cosine) / 2
        )
        assert all(
            by_measure[measure].raised == expected for measure in ("spread", "rank", "cosine")
        )


def test_alarms_without_a_control_are_refused():
    one, other = noisy_line(1.0, 0), noisy_line(1.0, 0, width=4)
    with pytest.raises(kp.errors.DataError, match="one collapsed run"):
        collapse_alarms(one, healthy=[one], collapsed=[])
    with pytest.raises(kp.errors.DataError, match="the same"):
        collapse_alarms(one, healthy=[one], collapsed=[other])
    with pytest.raises(kp.errors.DataError, match="no positive control"):
        collapse_alarms(one, healthy=[one], collapsed=[one])
