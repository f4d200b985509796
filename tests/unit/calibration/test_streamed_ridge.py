"""keras_prelu.calibration.streamed_ridge against numpy.linalg.lstsq and the direct solution."""

import threading

import numpy as np
import pytest

from keras_prelu.calibration.ridge import RidgeProblem, RowBlock
from keras_prelu.calibration.streamed_ridge import StreamedRidgeProblem


class Source:
    """Rows in blocks, as a layer makes them."""

    def __init__(self, rows, residuals, targets, held_out, block=7):
        self._blocks = [
            RowBlock(
                rows=rows[:, part],
                residuals=residuals[:, part],
                targets=targets[:, part],
                held_out=held_out[part],
            )
            for part in (slice(start, start + block) for start in range(0, rows.shape[1], block))
        ]

    def __iter__(self):
        return iter(self._blocks)

    def designs(self):
        return (block.rows for block in self._blocks)


class Hosts:
    """Two hosts as threads that wait for each other."""

    def __init__(self):
        self._barrier, self._arrays = threading.Barrier(2, timeout=60), [None, None]

    def exchange(self, host):
        hosts = self

        class Exchange:
            def gather(self, array):
                hosts._arrays[host] = np.array(array)
                hosts._barrier.wait()
                gathered = np.stack(hosts._arrays)
                hosts._barrier.wait()
                return gathered

        return Exchange()


def problem_data(groups, count, unknowns, outputs, noise=0.3, seed=0):
    """Rows with a decaying spectrum and unequal scales, as activations have."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, unknowns, unknowns)) / np.arange(1, unknowns + 1)[:, None]
    rows = rng.normal(size=(groups, count, unknowns)) @ mixing
    rows[..., -1] = 1.0
    change = rng.normal(size=(groups, unknowns, outputs))
    residuals = rows @ change + noise * rng.normal(size=(groups, count, outputs))
    targets = residuals + rng.normal(size=residuals.shape)
    return rows, residuals, targets, np.arange(count) % 5 == 0


def streamed(data, exchange=None, block=7):
    rows, residuals, _, _ = data
    return StreamedRidgeProblem(
        Source(*data, block=block), rows.shape[2], residuals.shape[2], rows.shape[0], exchange
    )


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("count", [12, 120])  # Fewer and more rows than unknowns.
@pytest.mark.parametrize("ridge", [1e-2, 0.3])
def test_a_solution_for_one_strength_equals_lstsq(groups, count, ridge):
    rows, residuals, targets, held_out = data = problem_data(groups, count, 20, 3)
    solution = streamed(data).solution(ridge)
    for group in range(groups):
        design = rows[group, ~held_out]
        penalty = ridge * np.mean(np.sum(design**2, axis=0))
        expected = np.linalg.lstsq(
            np.concatenate([design, np.sqrt(penalty) * np.eye(20)]),
            np.concatenate([residuals[group, ~held_out], np.zeros((20, 3))]),
            rcond=None,
        )[0]
        np.testing.assert_allclose(
            solution.change[group], expected, atol=1e-4 * np.abs(expected).max()
        )
    judged = rows[:, held_out] @ solution.change - residuals[:, held_out]
    variation = np.sum(
        np.square(targets[:, held_out] - targets[:, held_out].mean(axis=1, keepdims=True))
    )
    assert solution.error == pytest.approx(np.sum(judged**2) / variation, rel=1e-6)


@pytest.mark.parametrize("count", [40, 400])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_stopping_early_is_about_as_good_as_the_best_penalty(count, noise):
    data = problem_data(1, count, 60, 4, noise)
    direct = RidgeProblem(60, 4)
    for block in Source(*data):
        direct.add(block)
    problem = streamed(data)
    best = problem.best()
    assert best.error < problem.error(None)
    assert best.error < 1.2 * direct.best().error
    assert best.error == pytest.approx(problem.error(best.change), rel=1e-6)


def test_errors_and_gradients_are_those_of_the_direct_problem():
    data = problem_data(2, 50, 8, 3)
    direct, problem = RidgeProblem(8, 3, 2), streamed(data)
    for block in Source(*data):
        direct.add(block)
    change = np.random.default_rng(1).normal(size=(2, 8, 3))
    assert problem.rows == direct.rows == 50
    assert problem.error(None) == pytest.approx(direct.error(None))
    assert problem.error(change) == pytest.approx(direct.error(change))
    np.testing.assert_allclose(problem.gradient(change), direct.gradient(change), rtol=1e-8)


def test_inputs_that_are_all_zero_change_nothing():
    rows, residuals, targets, held_out = problem_data(1, 30, 5, 2)
    problem = streamed((0 * rows, residuals, targets, held_out))
    np.testing.assert_array_equal(problem.best().change, np.zeros((1, 5, 2)))
    np.testing.assert_array_equal(problem.solution(0.1).change, np.zeros((1, 5, 2)))


def test_float32_rows_are_as_good_as_float64_rows():
    """Directions in which the rows hardly vary differ; what they are good for does not."""
    data = problem_data(1, 300, 40, 3)
    rounded = (*(array.astype(np.float32) for array in data[:3]), data[3])
    assert streamed(rounded).best().error < 1.1 * streamed(data).best().error


def test_two_hosts_find_what_one_finds():
    data, hosts, found = problem_data(1, 80, 10, 2), Hosts(), {}
    parts = [slice(0, 48), slice(48, 80)]

    def work(host):
        part = parts[host]
        local = tuple(array[:, part] for array in data[:3])
        found[host] = streamed((*local, data[3][part]), hosts.exchange(host)).best()

    threads = [threading.Thread(target=work, args=(host,)) for host in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = streamed(data).best()
    for host in (0, 1):
        np.testing.assert_allclose(found[host].change, expected.change, rtol=1e-6, atol=1e-9)
        assert found[host].error == pytest.approx(expected.error)
