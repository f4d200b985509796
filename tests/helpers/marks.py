"""Marks of parametrized tests."""

import pytest

__all__ = ["slow_except"]


def slow_except(fast, cases):
    """Return parameters of a test, all but a few of them marked slow.

    Args:
        fast: Collection of strings. Names of the cases that `make test` runs.
        cases: Dict. Each case by its name.
    """
    assert set(fast) <= set(cases), set(fast) - set(cases)
    return [
        pytest.param(case, id=name, marks=() if name in fast else pytest.mark.slow)
        for name, case in cases.items()
    ]
