"""The verdict of a fine-tuning, in words: whether converting beats fine-tuning the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.fallbacks import RELU
from keras_prelu.training.recipes import CONTROL, described

if TYPE_CHECKING:
    from keras_prelu.training.result import FineTuning

__all__ = ["verdict_on"]

_INCOMING = "the model that came in"


def verdict_on(result: FineTuning) -> str:
    """Return one or more sentences on whether converting beats fine-tuning the original.

    A model that its fine-tuning made worse is named, with the better one, and so is a training that
    diverged.
    """
    diverged = [fallback.sentence() for fallback in result.fallbacks]
    if result.over_runs is not None:
        diverged += [
            f"With seed {run.seed}: {fallback.sentence()}"
            for run in result.over_runs.runs
            for fallback in run.fallbacks
            if run.seed != result.over_runs.chosen
        ]
    return " ".join([*diverged, _on_control(result), *_on_incoming(result)])


def _on_control(result: FineTuning) -> str:
    name = _name_of_model(result)
    if any(fallback.instead == RELU for fallback in result.fallbacks):
        return "Keep ReLU, or lower the learning rate."
    if result.recipe == CONTROL.name:
        return (
            "No recipe did better than the equally fine-tuned ReLU model on samples held back"
            " for the choice: keep ReLU."
        )
    comparison = result.comparison_with_control
    if comparison is None:
        return f"No control was trained, so nothing can be said about {name}."
    sentences = [comparison.sentence(name, "the equally fine-tuned ReLU model")]
    prepared_comparison = (
        result.prepared_comparison
        if result.over_runs is None
        else result.over_runs.prepared_comparison
    )
    if prepared_comparison is not None:
        sentences.append(
            prepared_comparison.sentence(name, f"the same with {described(result.preparations)}")
        )
    sentences += [
        control.comparison.sentence(name, CONTROLS[control.name]) for control in result.controls
    ]
    return " ".join(sentences)


def _on_incoming(result: FineTuning) -> list[str]:
    """Return sentences on the networks that their fine-tuning made worse, if there are any."""
    name = "PReLU" if result.slopes_after else "ReLU"
    compared = [(f"The fine-tuned {name} model", result.incoming_comparison)]
    if result.control_incoming_comparison is not None and result.control is not result.prelu:
        compared.append(("The fine-tuned ReLU control", result.control_incoming_comparison))
    sentences = [
        comparison.sentence(network, _INCOMING)
        for network, comparison in compared
        if comparison.verdict in ("worse", "mixed")
    ]
    if result.best == "incoming":
        which = "both networks" if len(sentences) > 1 else "the network"
        sentences.append(
            f"Fine-tuning made {which} worse: keep {_INCOMING}. A lower learning rate may help."
        )
    elif not sentences and all(comparison.gain < 0 for _, comparison in compared):
        before = result.incoming_comparison
        sentences.append(
            f"No fine-tuned network scored as well as {_INCOMING} ({before.metric}"
            f" {before.b:.4f}); with this much data that may be chance."
        )
    return sentences


def _name_of_model(result: FineTuning) -> str:
    """Return what the fine-tuned model is called in the verdict."""
    if result.slopes_after:
        return "PReLU"
    if result.preparations:
        return f"ReLU with {described(result.preparations)}"
    return "The model as given"
