"""Threads that overlap in the way that breaks save-and-restore."""

import threading

TIMEOUT = 60


def overlapping(context, observe):
    """Enter a context in two threads: the first one enters, the second one enters, the first one
    leaves, the second one leaves.

    `observe()` is called after each of the first three steps, by the thread that is inside.
    """
    second_entered, first_left = threading.Event(), threading.Event()
    failures = []

    def second():
        try:
            with context():
                observe()
                second_entered.set()
                assert first_left.wait(TIMEOUT)
                observe()
        except BaseException as error:
            failures.append(error)
            second_entered.set()

    with context():
        observe()
        thread = threading.Thread(target=second)
        thread.start()
        assert second_entered.wait(TIMEOUT)
    first_left.set()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    if failures:
        raise failures[0]
