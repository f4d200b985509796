"""What a comparison of two models found; `verdict_wording` has the words of its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_prelu.diagnostics.paired_intervals import ERROR
from keras_prelu.diagnostics.verdict_wording import (
    comparison_sentence,
    interval_text,
    metric_sentence,
    verdict_text,
)
from keras_prelu.display.figures import GainRow, intervals_figure
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table, number

__all__ = ["Comparison", "MetricComparison", "direction_of"]


@dataclass(frozen=True, kw_only=True)
class MetricComparison:
    """Two models compared by a metric that they are compiled with.

    Attributes:
        name: String. The name of the metric.
        a: Float. The metric of model a.
        b: Float. The metric of model b.
        gain: Float. By how much a is better; a − b if it is unknown which values are better.
        low: Float. Lower end of the gain's interval, whose error of 5 % is shared among all such
            metrics; minus infinity if the samples allow no interval.
        high: Float. Upper end of that interval.
        verdict: String. "better", "worse", "as good", "can't tell", or "different" if it is unknown
            which values are better.
    """

    name: str
    a: float
    b: float
    gain: float
    low: float
    high: float
    verdict: str

    def sentence(self) -> str:
        """Return the figures of the metric, with its verdict, as one sentence."""
        return metric_sentence(
            self.name, verdict=self.verdict, a=self.a, b=self.b, low=self.low, high=self.high
        )


@dataclass(frozen=True)
class Comparison(Shown):
    """Model a compared with model b, paired by sample.

    Attributes:
        metric: String. "accuracy" (higher is better), "loss" (lower is better), or the metric that
            was chosen.
        samples: Integer. The number of samples.
        a: Float. The mean score of model a.
        b: Float. The mean score of model b.
        gain: Float. By how much a is better: a − b for accuracy, b − a for loss, and likewise for
            other metrics.
        low: Float. Lower end of the gain's 95 % confidence interval over samples; minus infinity if
            the samples allow no interval.
        high: Float. Upper end of that interval.
        p_value: Float, or None. McNemar's exact test of no difference; only for accuracies of
            single models.
        verdict: String. How a compares with b: "better", "worse", "as good" (the gain lies within
            the margin, with an error of at most 5 %), "mixed" (better by one metric and worse by
            another), or "can't tell".
        needed: Integer, or None. If the verdict is "can't tell": about how many samples would lead
            to another one by the metric, if they were like these.
        note: String. Why the samples allow no interval; empty if they allow one.
        runs: Integer. The number of trainings of each model. The interval covers samples, not
            trainings. Defaults to 1.
        metrics: Tuple of `MetricComparison` of the other metrics that the models are compiled with.
            "better" and "as good" need that a is worse in none of them, unless the metric was
            chosen.
        is_chosen: Boolean. Whether the metric was chosen, so that it alone decides.
        direction: Integer. 1 if higher scores are better, -1 if lower ones are.
        negligible: Float, or None. The gain that does not matter, by the margin.
        needed_for: String. The verdict that `needed` samples would lead to: "better", "worse" or
            "as good"; empty if their number is not known.
    """

    metric: str
    samples: int
    a: float
    b: float
    gain: float
    low: float
    high: float
    p_value: float | None
    verdict: str
    needed: int | None
    note: str = ""
    runs: int = 1
    metrics: tuple[MetricComparison, ...] = ()
    is_chosen: bool = False
    direction: int = 1
    negligible: float | None = None
    needed_for: str = ""

    @property
    def doubt(self) -> str:
        """How many samples are needed and what for, in brackets; empty if that is not known."""
        if not self.needed:
            return ""
        within = f" within {self.negligible:.2g}" if self.needed_for == "as good" else ""
        which = f" in {self.metric}" if self.metrics and not self.is_chosen else ""
        return (
            f" (about {self.needed:,} samples are needed to tell whether it is"
            f" {self.needed_for}{which}{within})"
        )

    @property
    def primary(self) -> MetricComparison:
        """The comparison by the first metric, with its interval of 95 % and the verdict."""
        return MetricComparison(
            name=self.metric,
            a=self.a,
            b=self.b,
            gain=self.gain,
            low=self.low,
            high=self.high,
            verdict=self.verdict,
        )

    def tables(self) -> tuple[Table, ...]:
        """Return the table of the metrics."""
        table = Table(
            title=f"Models a and b on {self.samples:,} samples",
            columns=["metric", "a", "b", "gain", "interval", "verdict"],
            rows=[
                [
                    each.name,
                    number(each.a),
                    number(each.b),
                    f"{each.gain:+.4f}",
                    interval_text(each.low, each.high),
                    each.verdict,
                ]
                for each in (self.primary, *self.metrics)
            ],
            right=["a", "b", "gain"],
        )
        return (table,)

    def sentences(self) -> tuple[str, ...]:
        """Return the verdict."""
        return (self.sentence("Model a", "model b"),)

    def plot(self) -> Any:
        """Return a matplotlib figure of the gain with its interval, 0 and the margin."""
        row = GainRow(
            name="a against b",
            gain=self.gain,
            low=self.low,
            high=self.high,
            verdict=self.verdict,
            margin=self.negligible,
        )
        return intervals_figure([row], metric=self.metric)

    def sentence(self, a: str, b: str) -> str:
        """Return the verdict in words, with the interval and the number of samples needed.

        Args:
            a: String. The name of model a in the sentence.
            b: String. The name of model b in the sentence.
        """
        metrics = [metric.sentence() for metric in self.metrics]
        meaning = self._meaning(a, b)
        sentence = comparison_sentence(meaning, self, runs=self.runs, note=self.note)
        return " ".join([sentence, *metrics])

    def _meaning(self, a: str, b: str) -> str:
        worse = self._metrics_with("worse")
        names_worse = self.verdict == "mixed" or (self.metrics and not self.is_chosen)
        return verdict_text(
            self.verdict,
            a,
            b,
            doubt=f"with this much data{self.doubt}",
            better_in=self._metrics_with("better"),
            worse_in=worse if names_worse else "",
        )

    def _metrics_with(self, verdict: str) -> str:
        """Return the names of the metrics by which a is better, or worse."""
        primary = direction_of(self.low, self.high, self.p_value)
        names = [self.metric] if primary == verdict else []
        names += [metric.name for metric in self.metrics if metric.verdict == verdict]
        return " and ".join(names)


def direction_of(low: float, high: float, p_value: float | None) -> str | None:
    """Return "better" or "worse" if an interval excludes 0, and McNemar's test agrees."""
    if p_value is not None and p_value >= ERROR:
        return None
    return "better" if low > 0 else "worse" if high < 0 else None
