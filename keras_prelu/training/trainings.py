"""The final trainings of a fine-tuning, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_prelu.diagnostics.comparison import compare_measured
from keras_prelu.diagnostics.scores import Scores
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.training.controls import TrainedControl, control_model
from keras_prelu.training.fallbacks import Fallback, train_control, train_start
from keras_prelu.training.fit import ScoredModel
from keras_prelu.training.result import MODEL, ORIGINAL, FineTuning
from keras_prelu.training.start import Start
from keras_prelu.training.trainer import Trainer

__all__ = ["train_and_compare"]


def train_and_compare(
    start: Start,
    trainer: Trainer,
    *,
    control: bool,
    control_names: Sequence[str],
) -> FineTuning:
    """Run the final trainings, and compare them on samples that none of them has seen.

    Args:
        start: `Start`. The models.
        trainer: `Trainer`.
        control: Bool. Whether to train the ReLU model too, if it is known.
        control_names: Sequence of str. Further controls.

    Raises:
        FineTuningError: The training of the model diverged, and so did what took its place.
    """
    tuned = train_start(start, trainer.with_default_multiplier(start.multiplier))
    start, model, trainer = tuned.start, tuned.model, tuned.trainer
    prepared = start.prepared
    fallbacks = list(tuned.fallbacks)

    def trained(name: str, description: str, source: keras.Model) -> ScoredModel | None:
        result = train_control(name, description, source, trainer)
        if isinstance(result, Fallback):
            fallbacks.append(result)
            return None
        return result

    relu = prepared_control = None
    if start.original is not None and control:
        # If the search chose the control, the two trainings would be the same.
        relu = model if start.is_control else trained("control", "the ReLU control", start.original)
    if start.prepared_original is not None:
        prepared_control = trained(
            "prepared_control", "the ReLU control that is prepared alike", start.prepared_original
        )
    slopes_before = layer_slopes(prepared.model)
    seed = trainer.setup.fit.seed
    controls = {
        name: trained(name, f"the control '{name}'", control_model(name, prepared.model, seed))
        for name in (control_names if slopes_before else ())
    }
    incoming, incoming_scores = _better_incoming(start, model, trainer)
    return FineTuning(
        prelu=model.trained,
        control=None if relu is None else relu.trained,
        prepared_control=None if prepared_control is None else prepared_control.trained,
        slopes_before=slopes_before,
        slopes_after=layer_slopes(model.trained.model),
        slope_multiplier=trainer.setup.slopes.multiplier if slopes_before else None,
        scores=model.scores.values,
        control_scores=None if relu is None else relu.scores.values,
        prepared_control_scores=None
        if prepared_control is None
        else prepared_control.scores.values,
        comparison=None if relu is None else trainer.compare(model, relu),
        prepared_comparison=(
            None if prepared_control is None else trainer.compare(model, prepared_control)
        ),
        incoming=incoming,
        incoming_comparison=compare_measured(model.scores, incoming_scores),
        control_incoming_comparison=(
            None if relu is None else compare_measured(relu.scores, incoming_scores)
        ),
        controls=tuple(
            TrainedControl(
                name=name, trained=other.trained, comparison=trainer.compare(model, other)
            )
            for name, other in controls.items()
            if other is not None
        ),
        recipe=prepared.recipe.name,
        trials=start.trials,
        preparations=prepared.effective,
        revival=prepared.revival,
        norm_reset=prepared.norm_reset,
        fallbacks=tuple(fallbacks),
    )


def _better_incoming(start: Start, trained: ScoredModel, trainer: Trainer) -> tuple[str, Scores]:
    """Return which of the models that came in is better, and its scores: a converted model may have
    been fine-tuned before, or have lost by its conversion. Equally good ones are the original."""
    incoming_scores = trainer.score(start.incoming, like=trained)
    if start.original is None or start.original is start.incoming:
        return MODEL, incoming_scores
    original_scores = trainer.score(start.original, like=trained)
    if compare_measured(incoming_scores, original_scores).gain > 0:
        return MODEL, incoming_scores
    return ORIGINAL, original_scores
