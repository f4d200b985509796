"""The verdict of a fine-tuning: whether converting beats fine-tuning the original."""

from __future__ import annotations

from collections.abc import Sequence

from keras_prelu.diagnostics.comparison import Comparison
from keras_prelu.diagnostics.slopes import LayerSlopes
from keras_prelu.training.controls import CONTROLS, TrainedControl
from keras_prelu.training.fallbacks import RELU, Fallback
from keras_prelu.training.fit import TrainedModel
from keras_prelu.training.recipe_search import RecipeTrial
from keras_prelu.training.recipes import CONTROL, described
from keras_prelu.training.run_comparison import OverRuns, RunComparison
from keras_prelu.training.search_budget import TELLING_STEPS

__all__ = ["Judged"]

_INCOMING = "the model that came in"
_UNDECIDED = {
    "can't tell": "the samples do not show which of the two is better",
    "as good": "the two are as good as each other",
    "mixed": "each of the two is better by some of the metrics",
}
"""Why neither of two fine-tuned networks is to be preferred, by the verdict on them."""
_NOT_BETTER = {
    "can't tell": "the samples do not show that {} is better",
    "as good": "{} is as good, and no better",
    "mixed": "{} is better by some of the metrics, and worse by others",
}
"""Why the network that came in is kept, by the verdict on the fine-tuned one beside it."""


class Judged:
    """The verdict on a fine-tuning and the model to keep, by the comparisons that were made.

    `FineTuning` describes the attributes.
    """

    prelu: TrainedModel
    control: TrainedModel | None
    slopes_after: tuple[LayerSlopes, ...]
    comparison: Comparison | None
    prepared_comparison: Comparison | None
    incoming_comparison: Comparison
    control_incoming_comparison: Comparison | None
    controls: tuple[TrainedControl, ...]
    recipe: str
    trials: tuple[RecipeTrial, ...]
    preparations: tuple[str, ...]
    fallbacks: tuple[Fallback, ...]
    over_runs: OverRuns | None

    @property
    def is_worse_than_incoming(self) -> bool:
        """Whether the fine-tuned model is worse than the model that came in."""
        return self.incoming_comparison.verdict == "worse"

    @property
    def best(self) -> str:
        """The model to keep: "model", "control", or "incoming" for the one before fine-tuning.

        The fine-tuned model is kept unless the validation samples show that another is better.
        """
        comparison = self.comparison_with_control
        beaten_by_control = comparison is not None and comparison.verdict == "worse"
        control = self.control_incoming_comparison
        control_is_worse = control is None or control.verdict == "worse"
        if beaten_by_control and not control_is_worse:
            return "control"
        return "incoming" if self.is_worse_than_incoming else "model"

    def advice(
        self,
        *,
        model: str = "the fine-tuned model",
        control: str = "the ReLU control",
        incoming: str = _INCOMING,
    ) -> str:
        """Return which network to keep and why, as one sentence, whatever the verdict is.

        Args:
            model: Str. What the fine-tuned model is called, such as the name of its file.
            control: Str. What the fine-tuned control is called.
            incoming: Str. What the model that came in is called.
        """
        if self.best == "control":
            return f"Keep {control}: it is better than {model}."
        if self.best == "incoming":
            return f"Keep {incoming}: it is better than {model}."
        against_incoming = self.incoming_comparison.verdict
        if against_incoming != "better":
            return f"Keep {incoming}: {_NOT_BETTER[against_incoming].format(model)}."
        against_control = self.comparison_with_control
        rivals = self.control_incoming_comparison
        if against_control is None or rivals is None or self.control is self.prelu:
            return f"Keep {model}: it is better than {incoming}."
        if against_control.verdict == "better":
            return f"Keep {model}: it is better than {incoming} and than {control}."
        if rivals.verdict != "better":
            return f"Keep {model}: it is better than {incoming}, which is not shown of {control}."
        return (
            f"Keep {control}, which costs less than {model}: both are better than {incoming}, and"
            f" {_UNDECIDED[against_control.verdict]}."
        )

    @property
    def comparison_with_control(self) -> Comparison | RunComparison | None:
        """The comparison with the control, over runs if there are several."""
        return self.comparison if self.over_runs is None else self.over_runs.comparison

    @property
    def verdict(self) -> str:
        """One or more sentences on whether converting beats fine-tuning the original.

        A model that its fine-tuning made worse is named, with the better one, and so is a training
        that diverged.
        """
        diverged = [fallback.sentence() for fallback in self.fallbacks]
        if self.over_runs is not None:
            diverged += [
                f"With seed {run.seed}: {fallback.sentence()}"
                for run in self.over_runs.runs
                for fallback in run.fallbacks
                if run.seed != self.over_runs.chosen
            ]
        return " ".join([*diverged, self._verdict_on_control(), *self._verdicts_on_incoming()])

    def _verdict_on_control(self) -> str:
        name = self._name_of_model()
        if any(fallback.instead == RELU for fallback in self.fallbacks):
            return "Keep ReLU, or lower the learning rate."
        if self.recipe == CONTROL.name:
            is_short = bool(self.trials) and self.trials[-1].steps < TELLING_STEPS
            ending = ", in a search too short to tell" if is_short else ""
            return (
                "No recipe did better than the equally fine-tuned ReLU model on samples held back"
                f" for the choice{ending}: keep ReLU."
            )
        if self.control is self.prelu:
            return f"Recipe {self.recipe} changed nothing: the model is the ReLU control."
        comparison = self.comparison_with_control
        if comparison is None:
            return f"No control was trained, so nothing can be said about {name}."
        compared: list[tuple[Comparison | RunComparison, str]] = [
            (comparison, "the equally fine-tuned ReLU model")
        ]
        prepared_comparison = (
            self.prepared_comparison
            if self.over_runs is None
            else self.over_runs.prepared_comparison
        )
        if prepared_comparison is not None:
            compared.append((prepared_comparison, f"the same with {described(self.preparations)}"))
        compared += [(control.comparison, CONTROLS[control.name]) for control in self.controls]
        return " ".join(_sentences(name, compared))

    def _verdicts_on_incoming(self) -> list[str]:
        """Return sentences on the networks that their fine-tuning made worse, if there are any."""
        name = "PReLU" if self.slopes_after else "ReLU"
        compared = [(f"The fine-tuned {name} model", self.incoming_comparison)]
        if self.control_incoming_comparison is not None and self.control is not self.prelu:
            compared.append(("The fine-tuned ReLU control", self.control_incoming_comparison))
        sentences = [
            comparison.sentence(network, _INCOMING)
            for network, comparison in compared
            if comparison.verdict in ("worse", "mixed")
        ]
        if self.best == "incoming":
            which = "both networks" if len(sentences) > 1 else "the network"
            sentences.append(
                f"Fine-tuning made {which} worse: keep {_INCOMING}. A lower learning rate may help."
            )
        elif not sentences and all(comparison.gain < 0 for _, comparison in compared):
            before = self.incoming_comparison
            sentences.append(
                f"No fine-tuned network scored as well as {_INCOMING} ({before.metric}"
                f" {before.b:.4f}); with this much data that may be chance."
            )
        return sentences

    def _name_of_model(self) -> str:
        """Return what the fine-tuned model is called in the verdict."""
        if self.slopes_after:
            return "PReLU"
        if self.preparations:
            return f"ReLU with {described(self.preparations)}"
        return "ReLU" if self.recipe else "The model as given"


def _sentences(name: str, compared: Sequence[tuple[Comparison | RunComparison, str]]) -> list[str]:
    """Return what is said of a model beside others, in one sentence where these scored the same.

    Args:
        name: Str. What the model is called.
        compared: Sequence of pairs: a comparison, and what the model is compared with.
    """
    others: list[tuple[Comparison | RunComparison, list[str]]] = []
    for comparison, other in compared:
        same = next((names for found, names in others if found == comparison), None)
        if same is None:
            others.append((comparison, [other]))
        else:
            same.append(other)
    return [
        comparison.sentence(
            name, (" or from " if comparison.verdict == "can't tell" else " and ").join(names)
        )
        for comparison, names in others
    ]
