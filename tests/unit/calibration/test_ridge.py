"""keras_prelu.calibration.ridge against numpy.linalg.lstsq."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_prelu.calibration import gram_matrices
from keras_prelu.calibration.ridge import RIDGES, RidgeProblem, RowBlock


def reference(rows, residuals, ridge):
    """The ridge solution as ordinary least squares on rows extended by √λ·I."""
    penalty = ridge * np.mean(np.sum(rows**2, axis=0))
    unknowns = rows.shape[1]
    extended = np.concatenate([rows, np.sqrt(penalty) * np.eye(unknowns)])
    return np.linalg.lstsq(
        extended, np.concatenate([residuals, np.zeros((unknowns, residuals.shape[1]))]), rcond=None
    )[0]


def block(rows, residuals, held_out, targets=None):
    return RowBlock(
        rows=rows,
        residuals=residuals,
        targets=residuals if targets is None else targets,
        held_out=held_out,
    )


@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 99),
    st.sampled_from([1e-6, 1e-3, 1.0]),
)
def test_solution_equals_lstsq(count, unknowns, outputs, groups, seed, ridge):
    rng = np.random.default_rng(seed)
    rows, residuals = (
        rng.normal(size=(groups, count, unknowns)),
        rng.normal(size=(groups, count, outputs)),
    )
    problem = RidgeProblem(unknowns, outputs, groups)
    for part in np.array_split(np.arange(count), 3):
        problem.add(
            block(rows[:, part], residuals[:, part], held_out=np.zeros(len(part), dtype=bool))
        )
    change = problem.solve(ridge)
    for group in range(groups):
        np.testing.assert_allclose(
            change[group], reference(rows[group], residuals[group], ridge), rtol=1e-5, atol=1e-7
        )


def test_error_is_measured_on_held_out_rows():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(1, 50, 4)), rng.normal(2.0, 1.0, size=(1, 50, 3))
    current = rng.normal(size=(4, 3))
    held_out = np.arange(50) % 5 == 0
    problem = RidgeProblem(4, 3)
    problem.add(block(rows, targets - rows @ current, held_out, targets))
    change = problem.solve(1e-3)
    np.testing.assert_allclose(
        change[0],
        reference(rows[0, ~held_out], (targets - rows @ current)[0, ~held_out], 1e-3),
        rtol=1e-8,
    )
    held_rows, held_targets = rows[0, held_out], targets[0, held_out]
    variation = np.sum((held_targets - held_targets.mean(axis=0)) ** 2)
    np.testing.assert_allclose(
        problem.error(None), np.sum((held_targets - held_rows @ current) ** 2) / variation
    )
    np.testing.assert_allclose(
        problem.error(change),
        np.sum((held_targets - held_rows @ (current + change[0])) ** 2) / variation,
    )


@pytest.mark.parametrize("count", [3, 30])
def test_inputs_that_are_all_zero_change_nothing(count):
    problem = RidgeProblem(5, 2)
    zeros = np.zeros((1, count, 5))
    problem.add(block(zeros, np.ones((1, count, 2)), held_out=np.zeros(count, dtype=bool)))
    np.testing.assert_array_equal(problem.solve(1e-3), np.zeros((1, 5, 2)))


@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
@pytest.mark.parametrize("count", [12, 200])
def test_the_strength_is_chosen_on_held_out_rows(noise, count):
    """Found by going along the candidates; here all of them are tried."""
    rng = np.random.default_rng(1)
    rows, change = rng.normal(size=(1, count, 20)), rng.normal(size=(20, 3))
    residuals = rows @ change + noise * rng.normal(size=(1, count, 3))
    problem = RidgeProblem(20, 3)
    problem.add(block(rows, residuals, held_out=np.arange(count) % 4 == 0))
    best = problem.best()
    errors = {ridge: problem.error(problem.solve(ridge)) for ridge in RIDGES}
    assert best.ridge == min(errors, key=errors.__getitem__)
    assert best.error == pytest.approx(errors[best.ridge], rel=1e-9)
    if count == 200:
        assert best.ridge == {0.0: RIDGES[0], 0.3: best.ridge, 30.0: RIDGES[-1]}[noise]


@pytest.mark.parametrize("count", [150, 3000])
def test_float32_rows_give_the_error_of_float64_rows(count, monkeypatch):
    """Correlated, positive rows with a large mean, as activations are, and small strengths."""
    monkeypatch.setattr(gram_matrices, "_SIZE_WORTH_FLOAT32", 1)
    rng = np.random.default_rng(0)
    common = rng.normal(size=(1, count, 3)) @ rng.normal(size=(3, 200))
    rows = 5.0 + common + 0.05 * rng.normal(size=(1, count, 200))
    residuals = rows @ rng.normal(size=(200, 2)) + 0.1 * rng.normal(size=(1, count, 2))
    held_out = np.arange(count) % 5 == 0
    exact, rounded = RidgeProblem(200, 2), RidgeProblem(200, 2)
    exact.add(block(rows, residuals, held_out))
    rounded.add(block(rows.astype(np.float32), residuals.astype(np.float32), held_out))
    for ridge in RIDGES:
        change = rounded.solve(ridge)
        assert exact.error(change) == pytest.approx(exact.error(exact.solve(ridge)), rel=0.01)
        assert rounded.error(change) == pytest.approx(exact.error(change), rel=0.01, abs=3e-6)


def test_groups_that_are_zero_do_not_disturb_the_others():
    rng = np.random.default_rng(0)
    rows, residuals = rng.normal(size=(3, 40, 5)), rng.normal(size=(3, 40, 2))
    rows[1] = 0
    problem = RidgeProblem(5, 2, 3)
    problem.add(block(rows, residuals, held_out=np.zeros(40, dtype=bool)))
    change = problem.solve(1e-3)
    np.testing.assert_array_equal(change[1], np.zeros((5, 2)))
    for group in (0, 2):
        np.testing.assert_allclose(
            change[group], reference(rows[group], residuals[group], 1e-3), rtol=1e-7
        )
