"""keras_prelu.utils.quiet: what is silenced comes back, also where threads overlap."""

import logging
import os
import sys

import pytest

from keras_prelu.utils.quiet import errors_alone, nothing_silenced, silenced
from tests.helpers.threads import overlapping


@pytest.fixture
def descriptor(tmp_path):
    """A file descriptor, and a function that reads what was written to it."""
    path = tmp_path / "written"
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield number, path.read_text
    os.close(number)


def test_what_is_written_meanwhile_is_discarded(descriptor):
    number, written = descriptor
    os.write(number, b"before ")
    with silenced(number):
        os.write(number, b"inside ")
        with silenced(number):
            os.write(number, b"nested ")
        os.write(number, b"inside ")
    os.write(number, b"after")
    assert written() == "before after"


def test_two_overlapping_threads(descriptor):
    number, written = descriptor
    overlapping(lambda: silenced(number), lambda: os.write(number, b"inside "))
    os.write(number, b"after")
    assert written() == "after"


def test_no_descriptors_are_leaked(descriptor):
    number, _ = descriptor
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else None
    for _ in range(3):
        with silenced(number):
            pass
    assert before is None or os.listdir("/proc/self/fd") == before


def test_a_closed_descriptor_is_no_error(descriptor):
    number, _ = descriptor
    closed = os.dup(number)
    os.close(closed)
    with silenced(closed):
        pass


def test_what_python_has_buffered_belongs_to_where_it_was_printed(descriptor, monkeypatch):
    number, written = descriptor
    with os.fdopen(os.dup(number), "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        os.dup2(number, stream.fileno())
        print("before", end=" ")
        with silenced(stream.fileno()):
            print("inside", end=" ")
        print("after", end="")
        stream.flush()
    assert written() == "before after"


def test_two_overlapping_threads_and_a_logger():
    logger, levels = logging.getLogger("keras_prelu.tests"), []
    logger.setLevel(logging.INFO)
    overlapping(lambda: errors_alone(logger.name), lambda: levels.append(logger.level))
    assert levels == [logging.ERROR] * 3
    assert logger.level == logging.INFO


def test_nothing_is_silenced_meanwhile_on_request(descriptor):
    number, written = descriptor
    with nothing_silenced(), silenced(number):
        os.write(number, b"passes ")
    with silenced(number):
        os.write(number, b"inside")
    assert written() == "passes "
