"""keras_prelu.utils.process_state: a change that threads share is undone by the last of them."""

import os
import threading

import pytest

from keras_prelu.utils.process_state import SharedChange, environment_variable
from tests.helpers.threads import overlapping


def counted():
    """A change, and the list of what was done to the state: "made" and "undone"."""
    events = []

    def make():
        events.append("made")
        return lambda: events.append("undone")

    return SharedChange(make), events


def test_the_last_of_two_overlapping_threads_undoes_the_change():
    change, events = counted()
    states = []
    overlapping(change, lambda: states.append(list(events)))
    assert states == [["made"], ["made"], ["made"]]
    assert events == ["made", "undone"]


def test_it_is_made_once_where_calls_are_nested_and_anew_afterwards():
    change, events = counted()
    with change(), change():
        assert events == ["made"]
    assert events == ["made", "undone"]
    with change():
        pass
    assert events == ["made", "undone"] * 2


def test_it_is_undone_after_an_exception():
    change, events = counted()
    with pytest.raises(ValueError, match="inside"), change():
        raise ValueError("inside")
    assert events == ["made", "undone"]


def test_a_change_that_fails_leaves_nothing_behind():
    attempts = []

    def make():
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("not yet")
        return lambda: attempts.append("undone")

    change = SharedChange(make)
    with pytest.raises(OSError, match="not yet"), change():
        pass
    with change():
        pass
    assert attempts == [1, 1, "undone"]


@pytest.mark.parametrize("previous", [None, "before"])
def test_an_environment_variable_is_restored(monkeypatch, previous):
    monkeypatch.delenv("KERAS_PRELU_TEST", raising=False)
    if previous is not None:
        monkeypatch.setenv("KERAS_PRELU_TEST", previous)
    values = []
    overlapping(
        environment_variable("KERAS_PRELU_TEST", "meanwhile"),
        lambda: values.append(os.environ["KERAS_PRELU_TEST"]),
    )
    assert values == ["meanwhile"] * 3
    assert os.environ.get("KERAS_PRELU_TEST") == previous


def test_many_threads_leave_the_state_as_it_was():
    state = {"value": 0, "lowest": 1}

    def make():
        state["value"] += 1
        return lambda: state.update(value=state["value"] - 1)

    change = SharedChange(make)

    def work():
        for _ in range(200):
            with change():
                state["lowest"] = min(state["lowest"], state["value"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state == {"value": 0, "lowest": 1}
