"""Fine-tuning a model and, with the same budget, its controls.

The controls are the ReLU model that it came from, and that model with its dead units revived.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_prelu.backend.hosts import hosts, trains_on_several_tensorflow_hosts
from keras_prelu.data.labels import check_labels
from keras_prelu.data.samples import CheckedSamples, Samples, as_samples
from keras_prelu.data.signature import check_model
from keras_prelu.data.sources import split
from keras_prelu.data.streams import check_training_stream
from keras_prelu.diagnostics.comparison import Comparison, compare_measured
from keras_prelu.diagnostics.scores import Scores, measure_scores
from keras_prelu.diagnostics.slopes import layer_slopes
from keras_prelu.errors import FineTuningError, InvalidArgumentError
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.sites.prelu_layers import has_prelu_layers
from keras_prelu.training.checkpoints import Checkpoints
from keras_prelu.training.config import FitConfig, SlopeConfig, merge
from keras_prelu.training.controls import TrainedControl, check_controls, control_model
from keras_prelu.training.fingerprint import fingerprint
from keras_prelu.training.fit import (
    ScoredModel,
    TrainingSetup,
    train_and_score,
)
from keras_prelu.training.optimizers import check_optimizer
from keras_prelu.training.recipe_search import OnTrial, RecipeTrial, search_recipe
from keras_prelu.training.recipes import (
    AUTO,
    CONTROL,
    REVIVED_CONTROL,
    ModelPreparer,
    PreparedModel,
    Recipe,
    candidates,
    get_recipe,
)
from keras_prelu.training.result import MODEL, ORIGINAL, FineTuning
from keras_prelu.utils.checks import check_number

__all__ = ["FineTuning", "finetune"]

SELECTION_SHARE = 0.2

_AS_GIVEN = Recipe(name="", summary="a converted model as it is")


@keeps_state("model", "original")
def finetune(
    model: keras.Model,
    train: Any,
    validation: Any,
    *positional: Any,
    original: keras.Model | None = None,
    recipe: str = AUTO,
    budget: float = 3.0,
    selection: Any = None,
    fit: FitConfig | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Any = None,
    learning_rate: float | None = None,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    callbacks: Sequence[Any] | Callable[[], Sequence[Any]] | None = None,
    seed: int | None = None,
    verbose: Any = None,
    slopes: SlopeConfig | None = None,
    slope_multiplier: float | None = None,
    slope_frozen_epochs: float | None = None,
    slope_warmup_epochs: float | None = None,
    slope_clipnorm: float | None = None,
    control: bool = True,
    controls: str | Sequence[str] = (),
    on_trial: OnTrial | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
) -> FineTuning:
    """Fine-tune a model with PReLU and a ReLU control under the same conditions.

    Both get the same budget, data order and schedule. A ReLU model is converted by a recipe. "auto"
    chooses the recipe by short trainings, among them the control's, judged on a part of the
    training samples. A converted model is trained as it is, with the `original` that it was made
    from as its control.

    Several devices are used if the models were made for them: under
    `tf.distribute.MirroredStrategy`, whose scope must enclose this call too, or
    `keras.distribution.DataParallel` on JAX, on one host or several
    (`keras.distribution.initialize`, and `auto_shard_dataset=False`). The result is the same to
    float tolerance. Every host gets the same data and takes its part of each batch. The remainder
    of a batch that does not divide evenly among devices is dropped.

    Args:
        model: Keras model; a ReLU model, or a converted one as `convert` returns it. Not changed: a
            clone is trained.
        train: `Samples` or a pair (x, y), which all models see in the same order; or a data set
            that `model.fit` accepts (`tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch's
            `DataLoader`), which keeps its own order, must yield the same batches again for each
            model, and must end.
        validation: `Samples`, a pair (x, y), or a data set that ends. Labelled samples that were
            used neither for training nor for choosing anything. All scores and the verdict come
            from them.
        original: Keras model; the ReLU model that a converted `model` was made from, for the
            control. Needed for a converted model unless `control=False`; not together with a
            recipe. Not changed. Defaults to None.
        recipe: Str. How a ReLU model is prepared: "auto", or a name in
            `keras_prelu.training.recipes.RECIPES`: "identity", "exp", "exp-revived",
            "relu-revived", "exp-fast", "exp-fast-revived", "exp-half", "relu". A converted model
            takes none: "auto" then trains it as it is. Defaults to "auto".
        budget: Float. For "auto", the cost of the search and the final training together, as a
            multiple of one fine-tuning; the control's training is not counted. Defaults to 3.
        selection: `Samples`, a pair (x, y) or a data set that ends, on which the best epoch and the
            recipe are chosen. Defaults to a fifth of the training samples with a recipe, and to
            None without one: then the last epoch's weights are kept.
        fit: `FitConfig` that replaces the arguments `epochs` to `verbose` below. Defaults to None.
        epochs: Int. Passes over the training data. Defaults to 10.
        batch_size: Int. Batch size of `train` given as arrays. Defaults to 32.
        optimizer: Keras optimizer or its name; each model gets a copy with fresh state. Defaults to
            Adam.
        learning_rate: Float. Learning rate of the default optimizer, decayed to 0 along a cosine;
            not together with `optimizer`. Defaults to 1e-3.
        loss: Keras loss. Defaults to the one that the model is compiled with.
        metrics: List of Keras metrics. Defaults to those that the model is compiled with.
        callbacks: List of Keras callbacks, which are deep-copied for each model, or a function that
            returns new ones. The search's short trainings get none. Defaults to None.
        seed: Int. Seed of the data order and of everything random in training. Defaults to 0.
        verbose: Int or str, as in `model.fit`. Defaults to 0.
        slopes: `SlopeConfig` that replaces the arguments `slope_multiplier` to `slope_clipnorm`
            below. Defaults to None.
        slope_multiplier: Float. Ratio of the slopes' learning rate to that of the weights. Slopes
            get no weight decay. Defaults to the recipe's, or to 1 for a converted model.
        slope_frozen_epochs: Float. Epochs at the start in which slopes keep their values while the
            weights train. Defaults to 0.
        slope_warmup_epochs: Float. Epochs after the frozen ones in which the slopes' learning rate
            rises linearly to its full value. Defaults to 0.
        slope_clipnorm: Float. Largest Euclidean norm of the gradient of each layer's slopes; a
            larger gradient is scaled down. Defaults to None: only the optimizer's own clipping
            applies.
        control: Bool. Whether to train the control. Defaults to True.
        controls: Str or list of str. Further controls to train: "fixed-slopes" (the PReLU model
            with frozen slopes) and "from-scratch" (the PReLU model trained from fresh weights drawn
            by `PReLUHeNormal`). Defaults to none.
        on_trial: Function that is called with (number of short trainings done, their total number)
            during the search. Defaults to None.
        checkpoints: Path of a folder in which the state of every training is stored after each
            epoch. After an interruption at any moment, `kill -9` included, the same call continues
            from there and ends with the weights of an uninterrupted call, bit for bit on the same
            backend and machine. With several hosts, the first one writes, and all must see the
            folder. One fine-tuning at a time uses a folder. Callbacks with a state of their own
            (ReduceLROnPlateau) start with a fresh state. Defaults to None: nothing is stored.

    Returns:
        A `FineTuning`: the trained models, the slopes, and the verdict, which also says if
        fine-tuning made the networks worse than the one that came in: the better of `model` and
        `original`. Its `best` names the model to keep.

    Raises:
        InvalidArgumentError: A ValueError; an argument is out of range or passed twice, there is no
            such recipe, or there is no loss.
        DataError: Samples have no labels, do not fit the model, or hold NaN.
        FineTuningError: The loss became NaN, the checkpoints are those of another fine-tuning, or
            Keras can't train under the strategy.
        FileError: Checkpoints can't be written or read.

    Example:

    >>> result = keras_prelu.finetune(model, (x_train, y_train), (x_val, y_val), epochs=5)
    >>> print(result.verdict)
    >>> result = keras_prelu.finetune(converted, (x_train, y_train), (x_val, y_val),
    ...     original=model, epochs=2)

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852 (no weight decay on slopes). Jamieson and
        Talwalkar 2016, https://arxiv.org/abs/1502.07943 (successive halving). Claim 2;
        docs/explanation/results.md.
    """
    _refuse_old_call(train, positional)
    fit_config = merge(
        FitConfig,
        fit,
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "loss": loss,
            "metrics": metrics,
            "callbacks": callbacks,
            "seed": seed,
            "verbose": verbose,
        },
        role="fit",
    )
    slope_config = merge(
        SlopeConfig,
        slopes,
        {
            "multiplier": slope_multiplier,
            "frozen_epochs": slope_frozen_epochs,
            "warmup_epochs": slope_warmup_epochs,
            "clipnorm": slope_clipnorm,
        },
        role="slopes",
        prefix="slope_",
    )
    slope_config.check_within(fit_config.epochs)
    check_model(model, "model")
    if original is not None:
        check_model(original, "original")
    check_number("budget", budget, above=0.0)
    control_names = check_controls(controls)
    recipe_name = _recipe_name(model, original, recipe, control)
    models = (model,) if original is None else (model, original)
    if fit_config.optimizer is not None:
        check_optimizer(fit_config.optimizer, models)
    _check_distribution()
    data = _checked_data(model, train, validation, selection, fit_config)
    if recipe_name is not None and data.selection is None:
        data = _hold_back_selection(data, fit_config.seed)
    setup = TrainingSetup(
        train=data.train,
        selection=data.selection,
        fit=fit_config,
        slopes=slope_config,
        models=models,
    )
    with ExitStack() as stack:
        store = None
        if checkpoints is not None:
            key = fingerprint(models, setup, data.validation, (recipe_name, budget))
            store = stack.enter_context(Checkpoints(Path(checkpoints), key))
        if recipe_name is None:
            start = _Start(prepared=PreparedModel(recipe=_AS_GIVEN, model=model, revival=None))
        else:
            start = _start_by_recipe(recipe_name, model, setup, budget, on_trial, store, control)
            original = model
        return _train_and_compare(
            start,
            model,
            original,
            control,
            control_names,
            _Trainer(
                setup=setup.with_default_multiplier(start.prepared.recipe.slope_multiplier),
                validation=data.validation,
                checkpoints=store,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _Data:
    """The samples of a fine-tuning; `train` may also be a stream of batches."""

    train: Any
    validation: CheckedSamples
    selection: CheckedSamples | None


@dataclass(frozen=True, kw_only=True)
class _Start:
    """The models that are ready for the final trainings, and the search that led to them.

    Attributes:
        prepared: `PreparedModel`. The model to fine-tune.
        revived_original: Keras model. The ReLU model with its dead units revived, if it is a
            control; None otherwise.
        trials: Tuple of `RecipeTrial`. The short trainings of a search.
    """

    prepared: PreparedModel
    revived_original: keras.Model | None = None
    trials: tuple[RecipeTrial, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Trainer:
    """Trainer of clones of models with one setup, which compares them on the validation samples."""

    setup: TrainingSetup
    validation: CheckedSamples
    checkpoints: Checkpoints | None

    def train(self, name: str, model: keras.Model) -> ScoredModel:
        """Train a clone of a model; its checkpoint has this name."""
        checkpoint = None if self.checkpoints is None else self.checkpoints.file_of(name)
        return train_and_score(model, self.setup, self.validation, checkpoint)

    def compare(self, model: ScoredModel, control: ScoredModel) -> Comparison:
        """Compare a model with a control, sample by sample."""
        return compare_measured(model.scores, control.scores)

    def score(self, model: keras.Model, like: ScoredModel) -> Scores:
        """Measure a model that was not trained by the loss and the metrics of one that was."""
        trained = like.trained.model
        return measure_scores(model, self.validation, loss=trained.loss, metrics_of=trained)


def _refuse_old_call(train: Any, positional: tuple[Any, ...]) -> None:
    """Raise an InvalidArgumentError for the order of arguments of version 0.1."""
    if positional or train is None or isinstance(train, keras.Model):
        raise InvalidArgumentError(
            "The arguments of finetune changed: finetune(model, train, validation,"
            " original=original) for a converted model, finetune(model, train, validation,"
            f" recipe=...) for a ReLU model. Received: train of type {type(train).__name__} and"
            f" {3 + len(positional)} positional arguments"
        )


def _recipe_name(
    model: keras.Model, original: keras.Model | None, recipe: str, control: bool
) -> str | None:
    """Return the name of the recipe, or None if the model is trained as it is."""
    is_converted = has_prelu_layers(model)
    if original is not None and has_prelu_layers(original):
        raise InvalidArgumentError(
            "`original` has PReLU layers itself. Give the ReLU model that `model` was made from."
            f" Received: original={original.name!r}"
        )
    if recipe != AUTO:
        if is_converted:
            raise InvalidArgumentError(
                "A recipe starts from the ReLU model, and this one has PReLU layers. Give the ReLU"
                f" model, or leave out `recipe`. Received: recipe={recipe!r}"
            )
        if original is not None:
            raise InvalidArgumentError(
                "A recipe starts from `model`, which is its own original. Leave out `original`, or"
                f" `recipe` to train the model as it is. Received: recipe={recipe!r}"
            )
        return get_recipe(recipe).name
    if original is None and not is_converted:
        return AUTO
    if original is None and control:
        raise InvalidArgumentError(
            "The control of a converted model is the ReLU model that it was made from. Give it as"
            " `original`, or set control=False."
        )
    return None


def _check_distribution() -> None:
    if trains_on_several_tensorflow_hosts():
        raise FineTuningError(
            "Keras can't train under MultiWorkerMirroredStrategy: it passes a value for each"
            " replica where a tensor is expected. Use MirroredStrategy on one host, or"
            " KERAS_BACKEND=jax with keras.distribution.DataParallel."
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


def _checked_data(
    model: keras.Model, train: Any, validation: Any, selection: Any, fit: FitConfig
) -> _Data:
    """Coerce and check all samples, once."""
    loss = fit.loss if fit.loss is not None else getattr(model, "loss", None)

    def labelled(data: Any, role: str) -> CheckedSamples:
        samples = as_samples(data, model=model, role=f"{role} samples", labels="required")
        check_labels(model, samples, loss)
        return samples

    is_stream = not (isinstance(train, Samples) or (isinstance(train, tuple) and len(train) == 2))
    if is_stream:
        check_training_stream(train)
    return _Data(
        validation=labelled(validation, "validation"),
        train=train if is_stream else labelled(train, "training"),
        selection=None if selection is None else labelled(selection, "selection"),
    )


def _hold_back_selection(data: _Data, seed: int) -> _Data:
    """Hold back a fifth of the training samples as selection samples."""
    if not isinstance(data.train, CheckedSamples):
        raise InvalidArgumentError(
            "With a recipe, a stream of training data needs `selection`: labelled samples to choose"
            " the epoch by."
        )
    train, selection = split(data.train, SELECTION_SHARE, seed)
    return _Data(train=train, validation=data.validation, selection=selection)


def _start_by_recipe(
    recipe_name: str,
    original: keras.Model,
    setup: TrainingSetup,
    budget: float,
    on_trial: OnTrial | None,
    checkpoints: Checkpoints | None,
    control: bool,
) -> _Start:
    """Choose the recipe if it is "auto", and prepare the models."""
    # Streams can't be read before the training, so dead units are found on the selection samples.
    samples = setup.train if isinstance(setup.train, Samples) else setup.selection
    assert isinstance(samples, CheckedSamples)
    preparer = ModelPreparer(original, samples, setup.fit.seed)
    trials: tuple[RecipeTrial, ...] = ()
    if recipe_name == AUTO:
        search = search_recipe(
            candidates(original, preparer.has_dead_units()),
            preparer.prepare,
            setup,
            budget,
            on_trial=on_trial,
            checkpoints=checkpoints,
        )
        recipe, trials = search.recipe, search.trials
    else:
        recipe = get_recipe(recipe_name)
    prepared = preparer.prepare(recipe)
    revived_original = None
    if control and recipe.converts and recipe.revives:
        revived_original = preparer.prepare(REVIVED_CONTROL).model
    return _Start(prepared=prepared, revived_original=revived_original, trials=trials)


def _train_and_compare(
    start: _Start,
    incoming_model: keras.Model,
    original: keras.Model | None,
    has_control: bool,
    control_names: Sequence[str],
    trainer: _Trainer,
) -> FineTuning:
    """Run the final trainings, and compare them on samples that none of them has seen."""
    prepared = start.prepared
    slopes_before = layer_slopes(prepared.model)
    model = trainer.train("model", prepared.model)
    control = revived_control = None
    if original is not None and has_control:
        # If the search chose the control, the two trainings would be the same.
        is_control = prepared.recipe.name == CONTROL.name
        control = model if is_control else trainer.train("control", original)
    if start.revived_original is not None:
        revived_control = trainer.train("revived_control", start.revived_original)
    incoming, incoming_scores = _better_incoming(incoming_model, original, model, trainer)
    return FineTuning(
        prelu=model.trained,
        control=None if control is None else control.trained,
        revived_control=None if revived_control is None else revived_control.trained,
        slopes_before=slopes_before,
        slopes_after=layer_slopes(model.trained.model),
        scores=model.scores.values,
        control_scores=None if control is None else control.scores.values,
        comparison=None if control is None else trainer.compare(model, control),
        revived_comparison=(
            None if revived_control is None else trainer.compare(model, revived_control)
        ),
        incoming=incoming,
        incoming_comparison=compare_measured(model.scores, incoming_scores),
        control_incoming_comparison=(
            None if control is None else compare_measured(control.scores, incoming_scores)
        ),
        controls=tuple(
            _trained_control(name, prepared.model, model, trainer)
            for name in (control_names if slopes_before else ())
        ),
        recipe=prepared.recipe.name,
        trials=start.trials,
        revival=prepared.revival,
    )


def _better_incoming(
    incoming_model: keras.Model,
    original: keras.Model | None,
    trained: ScoredModel,
    trainer: _Trainer,
) -> tuple[str, Scores]:
    """Return which of the models that came in is better, and its scores: a converted model may have
    been fine-tuned before, or have lost by its conversion. Equally good ones are the original."""
    incoming_scores = trainer.score(incoming_model, like=trained)
    if original is None or original is incoming_model:
        return MODEL, incoming_scores
    original_scores = trainer.score(original, like=trained)
    if compare_measured(incoming_scores, original_scores).gain > 0:
        return MODEL, incoming_scores
    return ORIGINAL, original_scores


def _trained_control(
    name: str, prelu_model: keras.Model, model: ScoredModel, trainer: _Trainer
) -> TrainedControl:
    control = trainer.train(name, control_model(name, prelu_model, trainer.setup.fit.seed))
    return TrainedControl(
        name=name, trained=control.trained, comparison=trainer.compare(model, control)
    )
