"""keras_prelu.utils.large_graphs: threads that overlap leave the process as it was."""

import gc
import sys

import pytest

from keras_prelu.utils.large_graphs import deep_recursion, garbage_collector_off, on_large_graphs
from tests.helpers.threads import overlapping


def test_two_overlapping_threads_and_the_garbage_collector():
    assert gc.isenabled()
    states = []
    overlapping(garbage_collector_off, lambda: states.append(gc.isenabled()))
    assert states == [False] * 3
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage_collector_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_two_overlapping_threads_and_the_recursion_limit():
    before, limits = sys.getrecursionlimit(), []
    overlapping(deep_recursion, lambda: limits.append(sys.getrecursionlimit()))
    assert limits == [100_000] * 3
    assert sys.getrecursionlimit() == before


@pytest.mark.parametrize("limit", [200_000, 90_000])
def test_limits_that_other_code_sets_stay(limit):
    before = sys.getrecursionlimit()
    try:
        with deep_recursion():
            sys.setrecursionlimit(limit)
        assert sys.getrecursionlimit() == limit
        with deep_recursion():
            assert sys.getrecursionlimit() == max(limit, 100_000)
        assert sys.getrecursionlimit() == limit
    finally:
        sys.setrecursionlimit(before)


def test_a_decorated_function_recurses_deeply():
    def depth(number):
        return number if number == 5_000 else depth(number + 1)

    @on_large_graphs
    def walk():
        """Say how deep it went."""
        return depth(0), gc.isenabled()

    with pytest.raises(RecursionError):
        depth(0)
    assert walk() == (5_000, False)
    assert walk.__doc__ == "Say how deep it went."
