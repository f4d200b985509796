"""Several runs of a fine-tuning, which differ in their seeds alone.

Trainings of the same model scatter, by several points of accuracy where there are few samples, and
the samples of one run say nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_prelu.training.recipes import AUTO
from keras_prelu.training.result import FineTuning
from keras_prelu.training.run_comparison import OverRuns, Run, RunComparison, compare_runs
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.start import Start
from keras_prelu.training.trainer import Trainer
from keras_prelu.training.trainings import train_and_compare

__all__ = ["described_cost", "finetune_over_runs"]


def finetune_over_runs(
    start_by_seed: Callable[[TrainingSetup], Start],
    trainer: Trainer,
    runs: int,
    *,
    control: bool,
    control_names: Sequence[str],
) -> FineTuning:
    """Fine-tune several times with the seeds that follow each other, and compare over the runs.

    Args:
        start_by_seed: Function that returns the models of a run from the run's setup.
        trainer: `Trainer` of the first run, with selection samples.
        runs: Int. Number of runs.
        control: Bool. As in `finetune`.
        control_names: Sequence of str. Further controls.

    Returns:
        The `FineTuning` with the lowest loss on the selection samples, with its `over_runs`.

    Raises:
        FineTuningError: All trainings of a run diverged.
    """
    best: FineTuning | None = None
    records: list[Run] = []
    scores: list[_Scores] = []
    for index in range(runs):
        one = trainer.for_run(index)
        result = train_and_compare(
            start_by_seed(one.setup), one, control=control, control_names=control_names
        )
        records.append(_record(result, one.setup.fit.seed))
        scores.append(_Scores.of(result))
        # The models of only one run are kept in memory.
        if best is None or records[-1].selection_loss == min(r.selection_loss for r in records):
            best, chosen = result, records[-1].seed
    assert best is not None
    return replace(
        best,
        over_runs=OverRuns(
            runs=tuple(records),
            chosen=chosen,
            comparison=_compared(best, scores, lambda each: each.control),
            prepared_comparison=_compared(best, scores, lambda each: each.prepared_control),
        ),
    )


def described_cost(
    runs: int, *, epochs: int, recipe: str, budget: float, control: bool, further: int
) -> str:
    """Return what several runs cost, as a sentence.

    Args:
        runs: Int. Number of runs.
        epochs: Int. Epochs of a training.
        recipe: Str. "auto", the name of a recipe, or "" for a model that is trained as it is.
        budget: Float. As in `finetune`.
        control: Bool. Whether controls are trained.
        further: Int. Number of further controls.
    """
    least = runs * (1 + control + further)
    most = least + runs * bool(recipe and control)
    trainings = f"{least}" if most == least else f"{least} to {most}"
    search = f", after one search that costs {budget - 1:g} of them" if recipe == AUTO else ""
    unit = "epoch" if epochs == 1 else "epochs"
    return f"{runs} runs are {trainings} trainings of {epochs} {unit}{search}."


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """The scores of a run's models on each validation sample."""

    model: np.ndarray
    control: np.ndarray | None
    prepared_control: np.ndarray | None

    @classmethod
    def of(cls, result: FineTuning) -> _Scores:
        return cls(
            model=result.scores,
            control=result.control_scores,
            prepared_control=result.prepared_control_scores,
        )


def _record(result: FineTuning, seed: int) -> Run:
    control, prepared = result.control, result.prepared_control
    return Run(
        seed=seed,
        selection_loss=min(result.prelu.history["val_loss"]),
        score=result.prelu.score_after,
        control_score=None if control is None else control.score_after,
        prepared_control_score=None if prepared is None else prepared.score_after,
        fallbacks=result.fallbacks,
    )


def _compared(
    result: FineTuning, scores: Sequence[_Scores], control: Callable[[_Scores], np.ndarray | None]
) -> RunComparison | None:
    """Compare the model with a control in the runs that have it."""
    pairs = [(each.model, other) for each in scores if (other := control(each)) is not None]
    if not pairs:
        return None
    models, controls = zip(*pairs, strict=True)
    of_samples = result.incoming_comparison
    return compare_runs(
        of_samples.metric,
        models,
        controls,
        direction=of_samples.direction,
        samples=of_samples.samples,
    )
