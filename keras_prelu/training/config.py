"""Settings of a fine-tuning, as dataclasses that check themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.training.augmentation import check_augment
from keras_prelu.training.class_weights import check_class_weight
from keras_prelu.training.learning_rate_schedules import check_schedule
from keras_prelu.training.precision import check_precision
from keras_prelu.utils.checks import check_integer, check_number

__all__ = ["DEFAULT_LEARNING_RATE", "FitConfig", "SlopeConfig", "merge"]

DEFAULT_LEARNING_RATE = 1e-3
"""The learning rate of Adam, decayed to 0 along a cosine.

Of four rates it is never far behind the best: higher ones make networks worse that were trained on
more samples than they are fine-tuned on, and lower ones miss what others gain
(docs/explanation/results.md).
"""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of a training, the same for every model of a comparison.

    Args:
        epochs: Int. Passes over the training data. Defaults to 10.
        batch_size: Int. Batch size of training data given as arrays. Defaults to 32.
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
            returns new ones, with the name of the training as its argument if it requires one, as
            in `finetune`. Defaults to None.
        seed: Int. Seed of the data order and of everything random in training. Defaults to 0.
        verbose: Int or str, as in `model.fit`. Defaults to 0.

    Raises:
        InvalidArgumentError: A ValueError; a setting is out of range.

    Example:

    >>> fit = keras_prelu.FitConfig(epochs=5, learning_rate=3e-3)
    >>> result = keras_prelu.finetune(model, (x_train, y_train), (x_val, y_val), recipe="exp",
    ...     fit=fit)
    """

    epochs: int = 10
    batch_size: int = 32
    steps_per_epoch: int | None = None
    optimizer: Any = None
    learning_rate: float | None = None
    loss: Any = None
    metrics: Sequence[Any] | None = None
    schedule: Any = None
    patience: int | None = None
    class_weight: Any = None
    augment: Any = None
    mixed_precision: str | None = None
    metric: Any = None
    callbacks: Sequence[Any] | Callable[..., Sequence[Any]] | None = None
    seed: int = 0
    verbose: Any = 0

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, minimum=1)
        check_integer("batch_size", self.batch_size, minimum=1)
        if self.steps_per_epoch is not None:
            check_integer("steps_per_epoch", self.steps_per_epoch, minimum=1)
        check_integer("seed", self.seed, minimum=0)
        if self.patience is not None:
            check_integer("patience", self.patience, minimum=1)
        check_schedule(self.schedule)
        check_class_weight(self.class_weight)
        check_augment(self.augment)
        check_precision(self.mixed_precision)
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, above=0.0)
        if self.optimizer is not None and self.learning_rate is not None:
            raise InvalidArgumentError(
                "`learning_rate` is that of the default optimizer. Set it on your own optimizer"
                f" instead. Received: learning_rate={self.learning_rate}"
            )


@dataclass(frozen=True, kw_only=True)
class SlopeConfig:
    """Settings of how slopes are trained. They never get weight decay.

    Args:
        multiplier: Float. Ratio of the slopes' learning rate to that of the weights. Defaults to
            the recipe's, or to 1 for a converted model.
        frozen_epochs: Float. Epochs at the start in which slopes keep their values while the
            weights train. Defaults to 0.
        warmup_epochs: Float. Epochs after the frozen ones in which the slopes' learning rate rises
            linearly to its full value. Defaults to 0.
        clipnorm: Float. Largest Euclidean norm of the gradient of each layer's slopes; a larger
            gradient is scaled down. Defaults to None: only the optimizer's own clipping applies.

    Raises:
        InvalidArgumentError: A ValueError; a setting is out of range.

    Example:

    >>> slopes = keras_prelu.SlopeConfig(multiplier=4.0, warmup_epochs=0.5)
    >>> result = keras_prelu.finetune(model, (x_train, y_train), (x_val, y_val), recipe="exp",
    ...     epochs=2, slopes=slopes)
    """

    multiplier: float | None = None
    frozen_epochs: float = 0.0
    warmup_epochs: float = 0.0
    clipnorm: float | None = None

    def __post_init__(self) -> None:
        for name in ("multiplier", "clipnorm"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), above=0.0)
        for name in ("frozen_epochs", "warmup_epochs"):
            check_number(name, getattr(self, name), minimum=0.0)

    def check_within(self, epochs: int) -> None:
        """Check that the slopes reach their full learning rate before the training ends.

        Raises:
            InvalidArgumentError: A ValueError; they do not.
        """
        if self.frozen_epochs + self.warmup_epochs > epochs:
            raise InvalidArgumentError(
                "The slopes' `frozen_epochs` and `warmup_epochs` must end within the"
                f" {epochs} epochs. Received: {self.frozen_epochs:g} and {self.warmup_epochs:g}"
            )


Config = TypeVar("Config", FitConfig, SlopeConfig)


def merge(
    kind: type[Config],
    config: Config | None,
    settings: Mapping[str, Any],
    *,
    role: str,
    prefix: str = "",
) -> Config:
    """Return the settings that a caller passed, either as one object or as single arguments.

    Args:
        kind: Type. Class of the settings.
        config: Instance of `kind`, or None.
        settings: Dict from field names to single arguments; None stands for an argument that was
            not passed.
        role: Str. Name of the argument that takes the object, for messages.
        prefix: Str. Prefix of the single arguments' names before the field's name. Defaults to "".

    Raises:
        InvalidArgumentError: A ValueError; the object is of another class, or settings are passed
            both ways.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if config is None:
        return kind(**given)
    if not isinstance(config, kind):
        raise InvalidArgumentError(
            f"`{role}` must be a {kind.__name__}. Received: {type(config).__name__}"
        )
    if given:
        names = ", ".join(f"`{prefix}{name}`" for name in given)
        raise InvalidArgumentError(
            f"Settings are given both ways: {names} beside `{role}`. Set them in the"
            f" {kind.__name__} alone: {role}={kind.__name__}({next(iter(given))}=…)"
        )
    return config
