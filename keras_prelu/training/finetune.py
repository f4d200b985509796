"""Fine-tuning a model and, with the same budget, its controls.

The controls are the ReLU model that it came from, and that model with the recipe's preparations.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from keras_prelu.data.declarations import check_model
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.sites.selection import Selector
from keras_prelu.training.arguments import (
    check_distribution,
    checked_data,
    recipe_name,
    refuse_old_call,
)
from keras_prelu.training.checkpoints import Checkpoints, steps_between_checkpoints
from keras_prelu.training.chosen_sites import ChosenSites
from keras_prelu.training.config import FitConfig, SlopeConfig, merge
from keras_prelu.training.controls import check_controls
from keras_prelu.training.fingerprint import fingerprint
from keras_prelu.training.fit import check_metric
from keras_prelu.training.optimizers import check_callbacks, check_optimizer
from keras_prelu.training.recipe_search import OnTrial
from keras_prelu.training.recipes import AUTO, CONTROL
from keras_prelu.training.repeated_reading import with_repeated_reading
from keras_prelu.training.result import FineTuning
from keras_prelu.training.runs import finetune_over_runs
from keras_prelu.training.search_budget import USUAL_BUDGET
from keras_prelu.training.setup import TrainingSetup
from keras_prelu.training.start import choose_recipe, start_as_given, start_by_recipe
from keras_prelu.training.trainer import Trainer
from keras_prelu.training.trainings import train_and_compare
from keras_prelu.utils.checks import check_integer, check_number, check_path

__all__ = ["FineTuning", "finetune"]


@models_by_name("model", "original")
@keeps_state("model", "original")
def finetune(
    model: ModelLike,
    train: Any,
    validation: Any,
    *positional: Any,
    original: ModelLike | None = None,
    recipe: str = AUTO,
    include: Selector = None,
    exclude: Selector = None,
    budget: float = USUAL_BUDGET,
    runs: int = 1,
    selection: Any = None,
    fit: FitConfig | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    optimizer: Any = None,
    learning_rate: float | None = None,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    schedule: Any = None,
    patience: int | None = None,
    class_weight: Any = None,
    augment: Any = None,
    mixed_precision: str | None = None,
    metric: Any = None,
    callbacks: Sequence[Any] | Callable[..., Sequence[Any]] | None = None,
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
    save_freq: int | str = "epoch",
) -> FineTuning:
    """Fine-tune a model with PReLU and a ReLU control under the same conditions.

    Both get the same budget, data order and schedule. A ReLU model is converted by a recipe. "auto"
    chooses the recipe by short trainings, among them the control's, judged on a part of the
    training samples. A converted model is trained as it is, with the `original` that it was made
    from as its control.

    A training diverges if its loss is not finite or explodes: if the running mean of an epoch is
    100 times that for the labels of other samples. It is stopped then, and repeated with slopes as
    fast as the weights (a tenth as fast under SGD), and if that diverges too as the ReLU model. A
    control whose training diverges is left out. The verdict says so (`FineTuning.fallbacks`).

    Several devices are used if the models were made for them: under
    `tf.distribute.MirroredStrategy`, whose scope must enclose this call too, or
    `keras.distribution.DataParallel` on JAX, on one host or several
    (`keras.distribution.initialize`, and `auto_shard_dataset=False`). The result is the same to
    float tolerance. Every host gets the same data and takes its part of each batch. The remainder
    of a batch that does not divide evenly among devices is dropped.

    Args:
        model: Keras model; a ReLU model, or a converted one as `convert` returns it. Not changed: a
            clone is trained.
        train: `Samples`, a tuple (x, y) or (x, y, weights) of arrays or frames of pandas, or a
            `datasets.Dataset` of Hugging Face, which all models see in the same order; or a data
            set that `model.fit` accepts (`tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch's
            `DataLoader`, data sets and loaders of Grain), which keeps its own order and must yield
            the same batches again for each model. A generator, which can be read only once, is read
            into memory first: all of it, or `steps_per_epoch` batches.
        validation: Data as `train`, with an end. Labelled samples that were used neither for
            training nor for choosing anything; a warning says if they were. All scores and the
            verdict come from them.
        original: Keras model; the ReLU model that a converted `model` was made from, for the
            control. Needed for a converted model unless `control=False`; not together with a
            recipe. Not changed. Defaults to None.
        recipe: Str. How a ReLU model is prepared: "auto", or a name in
            `keras_prelu.training.recipes.RECIPES`: "identity-revived", "identity",
            "reset-identity", "shrink-identity", "exp-decay", "leaky-revived", "exp", "exp-revived",
            or one of the controls "relu", "relu-revived", "relu-reset", "shrink-perturb". "auto"
            judges by the new samples alone, and may choose to shrink weights, which forgets what
            the network knew. A converted model takes none: "auto" then trains it as it is. Defaults
            to "auto".
        include: Sites of a ReLU model that its recipe converts, as in `convert`, such as a path,
            glob or function of a `Site`. So sites on request (`Site.on_request`), such as gates and
            outputs, can be fine-tuned; those that are smooth have to be converted before. Defaults
            to None, all convertible sites except those on request.
        exclude: Sites that the recipe leaves as they are, in the same form. Defaults to None.
        budget: Float. For "auto", the cost of the search and the final training together, as a
            multiple of one fine-tuning, at least 1.5; the control's training is not counted.
            Defaults to 3.
        runs: Int. Number of fine-tunings, with the seeds `seed`, `seed` + 1 and so on, which differ
            in the order of the data and all that is random. Trainings scatter, and the samples of
            one say nothing of that. Model and controls are trained that many times (a search is
            made once), and the verdict compares them over the runs, paired by seed: "better" needs
            that Student's t interval over runs and the interval over samples are both above zero;
            it takes three runs to know their scatter. The result's models are those of the run with
            the lowest loss on the selection samples. Where no recipe is better than ReLU there is
            one run. Defaults to 1.
        selection: Data as `validation`, on which the best epoch and the recipe are chosen, and the
            run. Defaults to a fifth of the training samples with a
            recipe or several runs, and else to None: then the last epoch's weights are kept.
        fit: `FitConfig` that replaces the arguments `epochs` to `verbose` below. Defaults to None.
        epochs: Int. Passes over the training data. Defaults to 10.
        batch_size: Int. Batch size of `train` given as arrays. Defaults to 32.
        steps_per_epoch: Int. Number of batches in an epoch. Of arrays these are drawn anew for each
            epoch; in a data set an epoch goes on where the one before it stopped. Needed for an
            endless data set. Defaults to None: one pass over the data.
        optimizer: Keras optimizer or its name; each model gets a copy with fresh state. Defaults to
            Adam.
        learning_rate: Float. Learning rate of the default optimizer, decayed to 0 along a cosine;
            not together with `optimizer`. Defaults to 1e-3.
        loss: Keras loss. Defaults to the one that the model is compiled with.
        metrics: List of Keras metrics. Defaults to those that the model is compiled with.
        schedule: Str or function. How the learning rate goes from its first value over the steps:
            "cosine", "linear" (both to 0), "warmup-cosine", "constant", or a function of (rate,
            steps) that returns a Keras schedule. Defaults to None: "cosine" for the default
            optimizer, and no change of another one.
        patience: Int. Epochs without a lower loss on the selection samples after which a training
            is stopped. Each model is trained by this rule, so their numbers of epochs may differ. A
            fifth of the training samples is held back for it if there are no selection samples.
            Defaults to None: all epochs.
        class_weight: Dict from class numbers to weights in the loss that is trained, or "balanced".
            Losses and scores on other samples are not weighted. Defaults to None.
        augment: Keras layer, such as `keras.layers.RandomFlip`, or a function of a batch of x and,
            if it requires a second argument, a `numpy.random.Generator`. It is applied to the
            training batches, with the same draws for every model. Defaults to None.
        mixed_precision: Str, "bfloat16" or "float16". The models compute in it, and keep doing so,
            with weights in float32. So are the outputs, but for those of subclassed models.
            Defaults to None.
        metric: Str or Keras metric. The metric that the scores and the verdict are about, as in
            `compare`. Defaults to None: accuracy or loss, and the other metrics with them.
        callbacks: List of Keras callbacks, which are deep-copied for each model, or a function that
            returns new ones. If the function requires an argument, it gets the name of the
            training, which its checkpoint has too: "model" ("model_1" where it is repeated with
            slower slopes), "control", "prepared_control", "fixed-slopes" or "from-scratch", and
            "run_1_model" and so on in the second of several runs. The search's short trainings get
            none. Defaults to None.
        seed: Int. Seed of the data order and of everything random in training. Defaults to 0.
        verbose: Int or str, as in `model.fit`. Defaults to 0.
        slopes: `SlopeConfig` that replaces the arguments `slope_multiplier` to `slope_clipnorm`
            below. Defaults to None.
        slope_multiplier: Float. Ratio of the slopes' learning rate to that of the weights. Slopes
            get no weight decay. Defaults to what suits the recipe, the optimizer and the network:
            for free slopes (recipes with "identity", or a model converted so) 10 under Adam, AdamW,
            Adamax and Nadam, 3 under these with BatchNormalization, and 0.1 under SGD; 1 for all
            others. "auto" tries 30 beside 10, and 10 beside 3.
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
            folder. One fine-tuning at a time uses a folder. Of callbacks, what they have counted is
            stored: attributes that are numbers, strings, arrays or Python's containers of these and
            that changed since the training began. TensorFlow's own random ops
            (`tf.random.uniform`) in your code can't be continued. A call that differs in data,
            models or settings is refused; what callbacks of your own do, those that a function
            makes, and data that a stream yields beyond its first batches are not compared. Defaults
            to None: nothing is stored.
        save_freq: "epoch", or an int: the state is stored every so many training steps too, as in
            `keras.callbacks.BackupAndRestore`, and a training continues in the middle of an epoch.
            Samples, in memory or on disk, are then read from where it stopped. A stream is read
            again from the start of the epoch, without training (with `steps_per_epoch`, from the
            start of the source), and must yield the same batches each time. A state takes the size
            of the weights and of the optimizer's state. Defaults to "epoch".

    Returns:
        A `FineTuning`: the trained models, the slopes, and the verdict, which also says if
        fine-tuning made the networks worse than the one that came in: the better of `model` and
        `original`. Its `best` names the model to keep. The models are compiled and go on by `fit`:
        with the state of their optimizer, or, where the learning rate followed a schedule of the
        fine-tuning, or a schedule or callback of your own has brought it to 0, with a fresh
        optimizer at the first rate.

    Raises:
        InvalidArgumentError: A ValueError; an argument is out of range or passed twice, there is no
            such recipe, `include` or `exclude` names no site, or there is no loss.
        DataError: Samples have no labels, do not fit the model, or hold NaN.
        FineTuningError: All trainings diverged, the checkpoints are those of another fine-tuning,
            or Keras can't train under the strategy.
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
    refuse_old_call(train, positional)
    fit_config = merge(
        FitConfig,
        fit,
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "steps_per_epoch": steps_per_epoch,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "loss": loss,
            "metrics": metrics,
            "schedule": schedule,
            "patience": patience,
            "class_weight": class_weight,
            "augment": augment,
            "mixed_precision": mixed_precision,
            "metric": metric,
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
    check_integer("runs", runs, minimum=1)
    control_names = check_controls(controls)
    name = recipe_name(model, original, recipe, control)
    sites = ChosenSites(include, exclude)
    sites.check(model, by_recipe=name is not None)
    models = (model,) if original is None else (model, original)
    if fit_config.optimizer is not None:
        check_optimizer(fit_config.optimizer, models)
    check_callbacks(fit_config.callbacks, fit_config)
    check_distribution()
    steps_between = steps_between_checkpoints(save_freq, checkpoints)
    folder = None if checkpoints is None else check_path("checkpoints", checkpoints)
    data = checked_data(model, train, validation, selection, fit_config)
    if steps_between is not None:
        data = with_repeated_reading(data, fit_config)
    if name is not None:
        data = data.with_selection(fit_config.seed, "With a recipe")
    elif runs > 1:
        data = data.with_selection(fit_config.seed, "With several runs")
    elif fit_config.patience is not None:
        data = data.with_selection(fit_config.seed, "With `patience`")
    setup = TrainingSetup(
        train=data.train,
        selection=data.selection,
        fit=fit_config,
        slopes=slope_config,
        batches_per_epoch=None if isinstance(train, Iterator) else fit_config.steps_per_epoch,
        models=models,
        sites=sites,
    )
    check_metric(model, setup, data.validation)
    with ExitStack() as stack:
        store = None
        if folder is not None:
            others = [name, budget, runs, *((include, exclude) if sites.are_given else ())]
            others += [] if steps_between is None else ["save_freq"]
            key = fingerprint(models, setup, data.validation, others)
            store = stack.enter_context(Checkpoints(folder, key, steps_between))
        if name is None:
            start_by_seed = partial(start_as_given, model, original)
        else:
            choice = choose_recipe(
                name, model, setup, budget=budget, on_trial=on_trial, checkpoints=store
            )
            start_by_seed = partial(start_by_recipe, choice, model, control=control)
            if choice.candidate.recipe.name == CONTROL.name:
                runs = 1
        trainer = Trainer(setup=setup, validation=data.validation, checkpoints=store)
        if runs == 1:
            start = start_by_seed(setup)
            return train_and_compare(start, trainer, control=control, control_names=control_names)
        return finetune_over_runs(
            start_by_seed, trainer, runs, control=control, control_names=control_names
        )
