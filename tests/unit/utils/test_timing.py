"""keras_prelu.utils.timing: ratios that a disturbed machine leaves alone."""

from keras_prelu.utils.timing import Ratio, compare


def test_ratios_are_taken_round_by_round(monkeypatch):
    """On a machine that becomes slower and slower the ratio of each round is still 3."""
    now, slowness = [0.0], [1.0]
    monkeypatch.setattr("keras_prelu.utils.timing.time.perf_counter", lambda: now[0])

    def work(seconds):
        now[0] += seconds * slowness[0]

    def relu():
        work(1)

    def ours():
        work(3)

    def end_of_round():
        slowness[0] *= 2

    # Reversed order in even rounds: the disturbance comes between rounds only if it is first and
    # last in turn.
    times = compare({"end": end_of_round, "relu": relu, "ours": ours}, "relu", rounds=4, warm_up=0)
    assert times["relu"] == Ratio(times["relu"].milliseconds, 1, 1, 1)
    assert times["ours"] == Ratio(times["ours"].milliseconds, 3, 3, 3)


def test_rounds_end_when_the_time_is_over(monkeypatch):
    now, runs = [0.0], []
    monkeypatch.setattr("keras_prelu.utils.timing.time.perf_counter", lambda: now[0])

    def run():
        now[0] += 4
        runs.append(now[0])

    compare({"relu": run}, "relu", rounds=100, seconds=10, warm_up=1)
    assert len(runs) == 1 + 3


def test_processor_time_is_not_the_time_of_day(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("keras_prelu.utils.timing.time.process_time", lambda: now[0])

    def work():
        now[0] += 2

    times = compare({"relu": work}, "relu", rounds=3, processor_time=True)
    assert times["relu"].milliseconds == 2000
