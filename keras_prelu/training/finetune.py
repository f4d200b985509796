"""Fine-tuning a converted model and, with the same budget, its controls: the ReLU model it came
from, also with dead units revived."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_prelu.backend.devices import hosts, trains_on_several_tensorflow_hosts
from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import Samples, model_inputs
from keras_prelu.data.sources import split
from keras_prelu.diagnostics.comparison import Comparison, compare_scores
from keras_prelu.diagnostics.dead_units import dead_units
from keras_prelu.diagnostics.slopes import LayerSlopes, layer_slopes
from keras_prelu.errors import DataError, FineTuningError, InvalidArgumentError
from keras_prelu.revival import Revival
from keras_prelu.training.checkpoints import Checkpoints, fingerprint
from keras_prelu.training.controls import CONTROLS, ControlRun, check_controls, control_model
from keras_prelu.training.fit import DEFAULT_LEARNING_RATE, Budget, Run, run
from keras_prelu.training.recipe_search import RecipeTrial, search
from keras_prelu.training.recipes import (
    AUTO,
    CONTROL,
    REVIVED_CONTROL,
    Prepared,
    Recipe,
    candidates,
    get_recipe,
    prepare,
)
from keras_prelu.training.slope_optimizer import SlopeTraining

__all__ = ["DEFAULT_LEARNING_RATE", "FineTuning", "Run", "finetune"]

CALIBRATION_SAMPLES = 512
SELECTION_SHARE = 0.2

OnTrial = Callable[[int, int], None]


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuned model beside its controls.

    Attributes:
        prelu: The run of the PReLU model, or of what the recipe made: a control where the search
            found nothing better.
        control: The ReLU original's run, or None where none was asked for.
        revived_control: The run of the ReLU original with its dead units revived, where the recipe
            revives; else None.
        slopes_before, slopes_after: The PReLU model's slopes.
        scores: The model's score of each validation sample.
        control_scores: The control's, or None.
        comparison: The model against the control, or None without one.
        revived_comparison: The model against the revived control, or None without one.
        controls: Further controls that were asked for; none where the search found nothing better
            than ReLU.
        recipe: The name of the recipe, or "" where a converted model was given.
        trials: What the search tried, for recipe="auto".
        revival: What the recipe's revival did, or None.
    """

    prelu: Run
    control: Run | None
    revived_control: Run | None
    slopes_before: tuple[LayerSlopes, ...]
    slopes_after: tuple[LayerSlopes, ...]
    scores: np.ndarray
    control_scores: np.ndarray | None
    comparison: Comparison | None
    revived_comparison: Comparison | None
    controls: tuple[ControlRun, ...]
    recipe: str
    trials: tuple[RecipeTrial, ...]
    revival: Revival | None

    @property
    def model(self) -> keras.Model:
        """The fine-tuned model."""
        return self.prelu.model

    @property
    def verdict(self) -> str:
        """In one or two sentences: whether it was worth it, compared with fine-tuning the
        original."""
        name = "PReLU" if self.slopes_after else "ReLU with its dead units revived"
        if self.recipe == CONTROL.name:
            return (
                "No recipe did better than the equally fine-tuned ReLU model on samples held back"
                " for the choice: keep ReLU."
            )
        if self.comparison is None:
            return f"No control was trained, so nothing can be said about {name}."
        sentences = [self.comparison.sentence(name, "the equally fine-tuned ReLU model")]
        if self.revived_comparison is not None:
            sentences.append(
                self.revived_comparison.sentence(name, "the same with its dead units revived")
            )
        sentences += [
            control.comparison.sentence(name, CONTROLS[control.name]) for control in self.controls
        ]
        return " ".join(sentences)


def finetune(
    converted: keras.Model,
    original: keras.Model | None,
    train: Any,
    validation: Any,
    *,
    recipe: str | None = None,
    budget: float = 3.0,
    selection: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    optimizer: Any = None,
    learning_rate: float | None = None,
    slope_multiplier: float | None = None,
    slope_frozen_epochs: float = 0.0,
    slope_warmup_epochs: float = 0.0,
    slope_clipnorm: float | None = None,
    loss: Any = None,
    metrics: Any = None,
    callbacks: Sequence[Any] | Callable[[], Sequence[Any]] | None = None,
    control: bool = True,
    controls: Sequence[str] = (),
    seed: int = 0,
    verbose: Any = 0,
    on_trial: OnTrial | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
) -> FineTuning:
    """Fine-tune a converted model and, unless told not to, the original with the same budget, data
    order and schedule.

    Runs on several devices where the models were made for them: under
    `tf.distribute.MirroredStrategy`, whose scope this is called in too, or
    `keras.distribution.DataParallel` on JAX, on one host or several
    (`keras.distribution.initialize`, and `auto_shard_dataset=False`); with the same result to float
    tolerance. Every host is given the same data, and takes its part of each batch; a batch whose
    size is no multiple of the number of devices is cut by the rest.

    With a `recipe` the ReLU model itself is given; it is converted as the recipe says. "auto" finds
    the recipe by short trainings, among them the control's, judged on a part of the training
    samples.

    Args:
        converted: A PReLU model, as `convert` returns it; with a recipe, the ReLU model. Not
            changed: a copy is trained.
        original: The ReLU model it was made from, for the control; may be None with `control=False`
            or a recipe. Not changed.
        train: `Samples` or a pair (x, y), which all models see in the same order; or what
            `model.fit` takes as data (`tf.data.Dataset`, `keras.utils.PyDataset`), whose order is
            its own: it must start anew, and the same, for each model.
        validation: `Samples` or a pair (x, y): labelled samples that were used neither for training
            nor for choosing anything. All scores and the verdict come from them.
        recipe: "auto", or a name in `keras_prelu.training.recipes.RECIPES`: "identity", "exp",
            "exp-revived", "relu-revived", "exp-fast", "exp-fast-revived", "exp-half", "relu".
            Defaults to None: `converted` is trained as it is.
        budget: For "auto", what may be spent in all, in times of one fine-tuning; the control's run
            comes on top. Defaults to 3.
        selection: `Samples` or a pair (x, y) on which the best epoch, and the recipe, are chosen.
            Defaults to a fifth of the training samples with a recipe, and to None without: then the
            last epoch's weights are kept.
        epochs: Passes over the training data.
        batch_size: For `train` given as arrays.
        optimizer: Keras optimizer or its name; a copy with fresh state is used for each model.
            Defaults to Adam.
        learning_rate: Of the default optimizer, decayed to 0 along a cosine. Defaults to 3e-3. Not
            together with `optimizer`.
        slope_multiplier: The slopes' learning rate over the weights'. Slopes get no weight decay.
            Defaults to the recipe's, else to 1.
        slope_frozen_epochs: Epochs, or a part of one, in which slopes stay as they are while the
            weights train. Defaults to 0.
        slope_warmup_epochs: Epochs after those in which the slopes' learning rate rises linearly to
            its full value. Defaults to 0.
        slope_clipnorm: The gradient of each layer's slopes is scaled down to this Euclidean norm.
            Defaults to None.
        loss: Keras loss; defaults to the one the model is compiled with.
        metrics: Keras metrics; default to those the model is compiled with.
        callbacks: Keras callbacks, deep-copied for each model, or a function that returns new ones.
            The search's short trainings get none.
        control: Whether to train the control. Defaults to True.
        controls: Further controls to train: "fixed-slopes" (the PReLU model whose slopes don't
            learn) and "from-scratch" (the PReLU model from fresh weights, by `PReLUHeNormal`).
            Defaults to none.
        seed: Of the data order and of everything random in training.
        verbose: As in `model.fit`.
        on_trial: Called with (short trainings done, short trainings in all) during the search.
        checkpoints: A folder in which the state of every run is kept after each epoch. The same
            call goes on from there, after `kill -9` at any moment, and ends with the weights of an
            uninterrupted one, bit for bit on the same backend and machine. Of several hosts the
            first writes, and all must see the folder. Callbacks that keep a state of their own
            (ReduceLROnPlateau) begin it anew. Defaults to None: nothing is kept.

    Returns:
        The runs, the slopes, and the verdict; see `FineTuning`.

    Raises:
        InvalidArgumentError: A ValueError; an argument is out of range, there is no such recipe, or
            there is no loss.
        DataError: Samples have no labels, do not fit the model, or hold NaN.
        FineTuningError: The loss became NaN, the checkpoints are those of another fine-tuning, or
            Keras can't train under the strategy.
        FileError: Checkpoints can't be written or read.

    Example:

    >>> result = keras_prelu.finetune(model, None, (x_train, y_train), (x_val, y_val),
    ...     recipe="auto", epochs=5)
    >>> print(result.verdict)

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852 (no weight decay on slopes). Jamieson and
        Talwalkar 2016, https://arxiv.org/abs/1502.07943 (successive halving). Claim 2;
        docs/explanation/results.md.
    """
    _check_arguments(
        converted, original, recipe, epochs, batch_size, optimizer, learning_rate, control
    )
    _check_distribution()
    if (
        slope_frozen_epochs < 0
        or slope_warmup_epochs < 0
        or slope_frozen_epochs + slope_warmup_epochs > epochs
    ):
        raise InvalidArgumentError(
            "`slope_frozen_epochs` and `slope_warmup_epochs` must be 0 or more and end within the"
            f" {epochs} epochs. Received: {slope_frozen_epochs:g} and {slope_warmup_epochs:g}"
        )
    slope_training = SlopeTraining(
        1.0 if slope_multiplier is None else slope_multiplier,
        slope_frozen_epochs / epochs,
        slope_warmup_epochs / epochs,
        slope_clipnorm,
    )
    further = check_controls(controls)
    named = None if recipe in (None, AUTO) else get_recipe(str(recipe))
    validation = _labelled(converted, validation, "validation")
    if isinstance(train, (tuple, Samples)):
        train = _labelled(converted, train, "training")
    if selection is not None:
        selection = _labelled(converted, selection, "selection")
    elif recipe is not None:
        train, selection = _held_back(train, seed)
    for labelled in (train, validation):
        if isinstance(labelled, Samples):
            check_labels(
                converted, labelled, loss if loss is not None else getattr(converted, "loss", None)
            )
    spent = Budget(
        train,
        epochs,
        batch_size,
        optimizer,
        learning_rate,
        loss,
        metrics,
        callbacks,
        seed,
        verbose,
        selection,
    )

    kept = None
    if checkpoints is not None:
        models = [model for model in (converted, original) if model is not None]
        kept = _checkpoints(
            checkpoints, models, spent, [recipe, budget, slope_multiplier, slope_training]
        )
    trials: tuple[RecipeTrial, ...] = ()
    if recipe is None:
        maker = None
        prepared = Prepared(
            Recipe("", "as given", slope_multiplier=slope_training.multiplier), converted, None
        )
    else:
        original = original if original is not None else converted
        maker = _Maker(original, train, selection, slope_multiplier, seed)
        if named is None:
            named, trials = search(
                candidates(original, maker.has_dead_units()),
                maker,
                spent,
                budget,
                slope_training,
                on_trial,
                kept,
            )
        prepared = maker(named)
    revived = (
        maker(REVIVED_CONTROL)
        if maker is not None and control and prepared.recipe.converts and prepared.recipe.revives
        else None
    )
    return _judged(
        prepared,
        original if control else None,
        revived,
        further,
        spent,
        slope_training,
        validation,
        trials,
        kept,
    )


def _checkpoints(
    folder: str | os.PathLike[str],
    models: Sequence[keras.Model],
    spent: Budget,
    settings: list[Any],
) -> Checkpoints:
    """The checkpoints of the fine-tuning that these models, what is spent, and further settings
    make."""
    loss = repr(keras.saving.serialize_keras_object(keras.losses.get(spent.loss)))
    settings += [
        spent.epochs,
        spent.batch_size,
        _described(spent.optimizer),
        loss,
        spent.learning_rate,
        spent.seed,
        keras.backend.backend(),
    ]
    arrays = [
        [part.x, part.y] for part in (spent.train, spent.selection) if isinstance(part, Samples)
    ]
    return Checkpoints(Path(folder), fingerprint(models, arrays, settings))


def _check_arguments(
    converted: keras.Model,
    original: keras.Model | None,
    recipe: str | None,
    epochs: int,
    batch_size: int,
    optimizer: Any,
    learning_rate: float | None,
    control: bool,
) -> None:
    if epochs < 1 or batch_size < 1:
        raise InvalidArgumentError(
            f"`epochs` and `batch_size` must be at least 1. Received: epochs={epochs},"
            f" batch_size={batch_size}"
        )
    if optimizer is not None and learning_rate is not None:
        raise InvalidArgumentError(
            "`learning_rate` is that of the default optimizer. Set it on your own optimizer"
            " instead."
        )
    if recipe is not None and layer_slopes(converted):
        raise InvalidArgumentError(
            "A recipe starts from the ReLU model, and this one has PReLU layers. Give the original,"
            " or no recipe."
        )
    if recipe is None and control and original is None:
        raise InvalidArgumentError(
            "The control needs the `original` ReLU model. Give it, or say control=False."
        )


def _check_distribution() -> None:
    if trains_on_several_tensorflow_hosts():
        raise FineTuningError(
            "Keras can't train under MultiWorkerMirroredStrategy: it hands a value for each replica"
            " where a tensor is expected. Use MirroredStrategy on one host, or KERAS_BACKEND=jax"
            " with keras.distribution.DataParallel."
        )
    if hosts() > 1:
        distribution = keras.distribution.distribution()
        if distribution is None or distribution.auto_shard_dataset:
            raise FineTuningError(
                f"{hosts()} hosts train together under"
                " keras.distribution.DataParallel(auto_shard_dataset=False), set on each before"
                " the model is made: Keras divides data sets of tf.data only, and these batches"
                " are divided already."
            )


class _Maker:
    """Makes models ready by recipes, always from the same original and samples."""

    def __init__(
        self,
        original: keras.Model,
        train: Any,
        selection: Samples,
        slope_multiplier: float | None,
        seed: int,
    ) -> None:
        samples = train if isinstance(train, Samples) else selection
        self._original, self._samples, self._slope_multiplier, self._seed = (
            original,
            samples,
            slope_multiplier,
            seed,
        )
        self._calibration = samples.take(
            np.random.default_rng(seed).permutation(len(samples))[:CALIBRATION_SAMPLES]
        )

    def has_dead_units(self) -> bool:
        return any(site.dead for site in dead_units(self._original, self._samples.x))

    def __call__(self, recipe: Recipe) -> Prepared:
        if self._slope_multiplier is not None:
            recipe = replace(recipe, slope_multiplier=self._slope_multiplier)
        return prepare(
            recipe, self._original, self._samples.x, self._calibration.x, seed=self._seed
        )


def _judged(
    prepared: Prepared,
    original: keras.Model | None,
    revived_original: Prepared | None,
    further: Sequence[str],
    budget: Budget,
    slope_training: SlopeTraining,
    validation: Samples,
    trials: tuple[RecipeTrial, ...],
    checkpoints: Checkpoints | None,
) -> FineTuning:
    """The final runs, and what they say on samples that nothing has seen."""

    def trained(
        name: str, model: keras.Model, slope_multiplier: float
    ) -> tuple[Run, np.ndarray, str]:
        path = None if checkpoints is None else checkpoints.run(name)
        return run(
            model,
            replace(budget, checkpoint=path),
            replace(slope_training, multiplier=slope_multiplier),
            validation,
        )

    recipe = prepared.recipe
    slopes_before = layer_slopes(prepared.model)
    prelu, scores, metric = trained("model", prepared.model, recipe.slope_multiplier)
    control, control_scores, comparison = None, None, None
    revived, revived_comparison = None, None
    if original is not None:
        if recipe.name == CONTROL.name:  # it is the same training
            control, control_scores = prelu, scores
        else:
            control, control_scores, _ = trained("control", original, 1.0)
        comparison = compare_scores(metric, scores, control_scores, seed=budget.seed)
    if revived_original is not None:
        revived, revived_scores, _ = trained("revived_control", revived_original.model, 1.0)
        revived_comparison = compare_scores(metric, scores, revived_scores, seed=budget.seed)
    controls = []
    for name in further if slopes_before else ():
        control_run, found, _ = trained(
            name, control_model(name, prepared.model, budget.seed), recipe.slope_multiplier
        )
        controls.append(
            ControlRun(name, control_run, compare_scores(metric, scores, found, seed=budget.seed))
        )
    return FineTuning(
        prelu=prelu,
        control=control,
        revived_control=revived,
        slopes_before=slopes_before,
        slopes_after=layer_slopes(prelu.model),
        scores=scores,
        control_scores=control_scores,
        comparison=comparison,
        revived_comparison=revived_comparison,
        controls=tuple(controls),
        recipe=recipe.name,
        trials=trials,
        revival=prepared.revival,
    )


def _described(optimizer: Any) -> str:
    """An optimizer's settings, the same in every process."""
    if optimizer is None:
        return ""
    found = keras.optimizers.get(optimizer)
    return repr(
        (type(found).__name__, sorted(found.get_config().items(), key=lambda item: item[0]))
    )


def _held_back(train: Any, seed: int) -> tuple[Samples, Samples]:
    """Training samples, and a fifth of them to choose by."""
    if not isinstance(train, Samples):
        raise InvalidArgumentError(
            "With a recipe, a stream of training data needs `selection`: labelled samples to choose"
            " the epoch by."
        )
    return split(train, SELECTION_SHARE, seed)


def _labelled(model: keras.Model, data: Any, name: str) -> Samples:
    samples = (
        data
        if isinstance(data, Samples)
        else Samples(*data)
        if isinstance(data, tuple) and len(data) == 2
        else None
    )
    if samples is None or samples.y is None:
        raise DataError(
            f"The {name} samples must be a pair (x, y) or keras_prelu.data.Samples with labels."
            f" Received: {type(data).__name__}"
        )
    count = len(model_inputs(model, samples, f"{name} samples")[0])
    for labels in keras.tree.flatten(samples.y):
        if len(labels) != count:
            raise DataError(f"The {name} samples are {count}, their labels {len(labels)}.")
    return samples
