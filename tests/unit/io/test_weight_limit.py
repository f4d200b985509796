"""keras_prelu.io.weight_limit: each thread has the budget of the file that it reads."""

import keras
import pytest

from keras_prelu.errors import FileError
from keras_prelu.io import weight_limit
from keras_prelu.io.weight_limit import weights_within
from tests.helpers.threads import overlapping

ADD_WEIGHT = keras.layers.Layer.add_weight


@pytest.fixture(autouse=True)
def _small_budgets(monkeypatch):
    monkeypatch.setattr(weight_limit, "_SMALL", 1_000)


@pytest.fixture(autouse=True)
def _nothing_stays():
    yield
    assert keras.layers.Layer.add_weight is ADD_WEIGHT


def build(elements):
    keras.layers.Dense(1, use_bias=False).build((None, elements))


def test_the_sum_of_all_weights_counts():
    with weights_within("model.keras", 100):  # 4 · 100 + 1,000 bytes
        build(200)
        build(150)
        with pytest.raises(FileError, match=r"'model\.keras' is damaged: .*wants \(1, 1\)"):
            build(1)


def test_a_file_inside_another_spends_both_budgets():
    with weights_within("outer", 0):
        build(200)
        with weights_within("inner", 0), pytest.raises(FileError, match="'outer'"):
            build(100)


def test_two_overlapping_threads_have_a_budget_each():
    def build_half():
        build(120)  # twice in each thread, of 250

    overlapping(lambda: weights_within("model.keras", 0), build_half)


def test_a_thread_that_reads_no_file_has_no_limit():
    def build_large():
        build(10_000)

    entered = []

    def context():
        """The reading thread's budget, and none for the other one."""
        entered.append(1)
        return weights_within("model.keras", 10**6 if len(entered) == 1 else 10**9)

    overlapping(context, build_large)
