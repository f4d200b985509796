"""Converting a ReLU model into a PReLU model."""

from __future__ import annotations

from typing import Any

import keras

from keras_prelu.calibration.config import (
    DISTILLATION_EPOCHS,
    CalibrationConfig,
    DistillationConfig,
)
from keras_prelu.calibration.layerwise import Progress
from keras_prelu.conversion.arguments import ConversionArguments
from keras_prelu.conversion.in_place import convert_in_place
from keras_prelu.conversion.rescaling import Conversion, SampleUse
from keras_prelu.conversion.to_prelu import convert_to_prelu
from keras_prelu.conversion.without_prelu import replace_prelus
from keras_prelu.graph.model_state import keeps_state
from keras_prelu.io.loading import ModelLike, models_by_name
from keras_prelu.sites.selection import Selector

__all__ = ["Conversion", "convert", "run_conversion"]


@models_by_name("model")
def convert(
    model: ModelLike,
    *,
    to: str = "prelu",
    alpha: float | str | None = None,
    tolerance: float | None = None,
    parameterization: Any = None,
    shared_axes: Any = "channel_wise",
    alpha_regularizer: Any = None,
    beta_regularizer: Any = None,
    rescale: str = "auto",
    calibration_data: Any = None,
    include: Selector = None,
    exclude: Selector = None,
    keep_slopes: bool = True,
    train_frozen_slopes: bool = False,
    verify: bool = True,
    profile: str | None = None,
    in_place: bool = False,
) -> keras.Model:
    """Convert a trained ReLU model into a PReLU model.

    Without further arguments the conversion is exact: the new slopes start at 0 under "identity",
    from where they learn, and the outputs of the new model are bit-identical to those of the old
    one (equal within float32's precision when compiled by JAX, which may reorder operations).
    Positive slopes are a choice, see `alpha` and `parameterization`. They change what the model
    computes, so its layers are refitted on samples.

    Every convertible site (see `find_sites`) becomes a `keras_prelu.PReLU`: a ReLU layer is
    replaced by one of the same name, an inline `activation="relu"` by a linear layer followed by a
    new layer `<name>_prelu`; a cap such as ReLU6's is kept. Layers with Python code of their own,
    and subclassed models, are rebuilt from their configuration, or duplicated in memory if they
    have none, and apply PReLUs inside; they stay of their class. Weights, names, `trainable` flags,
    dtype policies and compile settings (with a fresh optimizer state) are kept.

    Args:
        model: `keras.Model`. A built model: Sequential, Functional or subclassed, with nested
            models and custom layers. It is not changed.
        to: String. "prelu", or for hardware without PReLU "relu" or "leaky_relu": then the PReLU
            layers of a model, and for "relu" its LeakyReLU layers, become stock ReLU layers, or
            LeakyReLU layers with one slope each, the mean of the slopes weighted by the squares of
            the negative inputs that they meet on the samples. Python code applies its own ReLUs
            again; where it would need a slope that it does not have, it keeps PReLU layers with one
            frozen slope. Caps are kept. Other arguments on slopes are refused, and without samples
            so are changes of slopes above 0.001, unless `rescale` is "none". Defaults to "prelu".
        alpha: Float, "auto" or None. The initial slope of the new layers. With "auto", each layer
            gets the largest slope, up to 0.25, that calibration can compensate for (see
            `find_slopes`); this needs samples. A layer in place of a smooth activation gets the
            slopes that fit it best in least squares, with "auto" and with None, if it is
            calibrated. Sites with a slope of their own keep it, see `keep_slopes`. Defaults to
            None: 0 without `calibration_data` and `rescale`, and 0.25 with either, since both are
            of use for other slopes only; for "positive" 0.001; for other maps than "identity" 0.25.
            Without samples, a slope above 0.001 is refused unless `rescale` says how to do without.
        tolerance: Float or None. The loss of function that `alpha="auto"` allows, see
            `find_slopes`, beyond what replacing smooth activations costs. Defaults to None, 0.001
            of the outputs' variance.
        parameterization: String or `Parameterization` or None. The map from raw parameters to
            slopes, as in `PReLU`. Under "identity", training keeps each layer's input in memory for
            the backward pass; under the other names, with slopes that are certainly positive, only
            the output, which the next layer keeps anyway (docs/how_to/choose_slopes.md).
            "positive", "identity" with slopes of at least 0.001, is nearly exact from its start at
            0.001. A slope that is kept and that the map can't represent gets "identity". Defaults
            to None, "exp" for positive slopes and "identity" otherwise.
        shared_axes: Axes that share one slope, as in `PReLU`. A `keras.layers.PReLU` that keeps its
            slopes keeps its axes. Defaults to "channel_wise".
        alpha_regularizer: Regularizer of the slopes, as in `PReLU`. Defaults to None.
        beta_regularizer: Regularizer of the raw parameters of the slopes, as in `PReLU`. Defaults
            to None.
        rescale: String. How the model's function is restored after the conversion:

            - "calibrated": layerwise least squares on `calibration_data`, see `calibrate`.
            - "distilled": "calibrated", and then gradient descent, block by block, on what the
              original computes for the same samples, see `distill`. It takes several times as
              long, and is undone where the error on held-out samples does not become lower.
            - "analytic": scale what feeds each site by 1/√(1+α²) (claims 4 and 6); right for fresh
              weights and nearly worthless for trained ones.
            - "moments": restore the output of each ReLU in least squares from the statistics that
              BatchNormalization layers hold (claim 7), without samples.
            - "none": do nothing.
            - "auto": with samples, "calibrated"; without, "none", for slopes that start within
              0.001 of the original's.

            Named without samples, the methods other than these two are a choice of slopes that
            change the outputs. Defaults to "auto".
        calibration_data: Unlabeled samples for "calibrated" and "distilled", as in `calibrate`:
            arrays, or an iterable of batches of them. With another `rescale`, only the error is
            measured on them. If it is more than a fifth of the outputs' variance, a warning says
            so. Defaults to None.
        include: Sites to convert: a path, layer name or glob ("block1_*"), a layer class, a
            function of a `Site` such as `keras_prelu.sites.SMOOTH`, or a list of these. Defaults to
            None, all convertible sites except those on request (`Site.on_request`): smooth
            activations such as ELU and GELU, and rectifiers whose range the model relies on, such
            as gates and outputs.
        exclude: Sites not to convert, in the same form. Defaults to None.
        keep_slopes: Boolean. Whether LeakyReLU, ReLU(negative_slope) and `keras.layers.PReLU` keep
            their own slopes. If False, they get `alpha`. Defaults to True.
        train_frozen_slopes: Boolean. Whether new slopes in a frozen part of the model are
            trainable. If False, they are frozen like that part. Defaults to False.
        verify: Boolean. Whether the predictions of both models are compared, with the original's
            slopes and before any rescaling: on the first few calibration samples, or on inputs
            drawn to fit the model. This takes two small predictions; with slopes that change the
            outputs and without samples, two more check that these are finite. Defaults to True.
        profile: String or None. "deployment" makes a network that costs least where it runs: each
            layer has one slope, which a constraint keeps from 0.001 (where it starts) to 1, and
            caps such as ReLU6's are removed where they cut off at most 0.2 % of the outputs for
            `calibration_data`. Of n samples that reach no cap it follows, with 95 % confidence,
            that at most 3/n of all samples do. A warning names the caps that stay. Sites with
            slopes of their own keep them. Not together with other `shared_axes`, or maps other than
            "positive" and "sigmoid". Defaults to None.
        in_place: Boolean. Whether the layers are exchanged in `model` itself, which is returned.
            This is for subclassed models that can't be copied, or whose object other code holds.
            With `calibration_data` a duplicate serves as the original, until the function returns.
            If anything fails, the model is as it was. Defaults to False.

    Returns:
        A new model of the same kind (a Sequential stays one). `run_conversion` returns it together
        with the records of the conversion.

    Raises:
        InvalidArgumentError: A ValueError; an argument has none of the values above, the map can't
            represent `alpha`, or slopes would change the outputs without samples and without a
            `rescale`.
        ConversionError: The model has no graph or no site to convert; the message lists what was
            searched for. Or the new model does not compute what the old one does; the message names
            the first layer that differs. Or its outputs are not finite.
        CalibrationError, DataError: The samples can't be used, or the outputs of the calibrated
            model are not finite on them.

    Example:

    >>> exact = keras_prelu.convert(model)
    >>> np.array_equal(exact.predict(x_train, verbose=0), model.predict(x_train, verbose=0))
    True
    >>> calibrated = keras_prelu.convert(model, alpha=0.25, calibration_data=x_train[:512])

    References:
        He et al. 2015, https://arxiv.org/abs/1502.01852. Claims 4, 6 and 7;
        docs/how_to/choose_slopes.md, docs/explanation/calibration.md.
    """
    arguments = ConversionArguments(
        to=to,
        alpha=alpha,
        tolerance=tolerance,
        parameterization=parameterization,
        shared_axes=shared_axes,
        alpha_regularizer=alpha_regularizer,
        beta_regularizer=beta_regularizer,
        rescale=rescale,
        include=include,
        exclude=exclude,
        keep_slopes=keep_slopes,
        train_frozen_slopes=train_frozen_slopes,
        verify=verify,
        profile=profile,
    )
    if in_place:
        return convert_in_place(model, arguments, calibration_data)
    return _convert(model, arguments, calibration_data, SampleUse()).model


@models_by_name("model")
def run_conversion(
    model: ModelLike,
    *,
    to: str = "prelu",
    alpha: float | str | None = None,
    tolerance: float | None = None,
    parameterization: Any = None,
    shared_axes: Any = "channel_wise",
    alpha_regularizer: Any = None,
    beta_regularizer: Any = None,
    rescale: str = "auto",
    calibration_data: Any = None,
    include: Selector = None,
    exclude: Selector = None,
    keep_slopes: bool = True,
    train_frozen_slopes: bool = False,
    verify: bool = True,
    profile: str | None = None,
    max_samples: int | None = None,
    refit_frozen: bool = False,
    batch_size: int | None = None,
    memory_limit: float = 4e9,
    seed: int = 0,
    distillation_epochs: float = DISTILLATION_EPOCHS,
    on_step: Progress | None = None,
) -> Conversion:
    """Convert a trained ReLU model into a PReLU model, and return it with its records.

    Args:
        model: `keras.Model`. As in `convert`, like all arguments up to `profile`.
        max_samples: Integer or None. Largest number of samples to calibrate with, drawn at random.
            Defaults to None, all samples in their order.
        refit_frozen: Boolean. Whether calibration refits layers with `trainable=False` too.
            Defaults to False.
        batch_size: Integer or None. Samples that calibration passes through a layer at once.
            Defaults to None: as many as the memory limit allows, at most 128.
        memory_limit: Float. Bytes that calibration may take, as in `calibrate`. Defaults to 4e9.
        seed: Integer. Seed of the drawn and the held-out samples. Defaults to 0.
        distillation_epochs: Float. How often `rescale="distilled"` draws each sample, as in
            `distill`. Defaults to 8.
        on_step: Function called with (steps done, steps in total) during a calibration. With
            `alpha="auto"` the count restarts for each of up to five calibrations, and for the
            distillation with `rescale="distilled"`. Defaults to None.

    Returns:
        A `Conversion`.

    Raises:
        InvalidArgumentError, ConversionError, CalibrationError, DataError: As in `convert`.

    Example:

    >>> conversion = keras_prelu.run_conversion(model, calibration_data=x_train[:512])
    >>> conversion.calibration.error_after < conversion.calibration.error_before
    True
    """
    arguments = ConversionArguments(
        to=to,
        alpha=alpha,
        tolerance=tolerance,
        parameterization=parameterization,
        shared_axes=shared_axes,
        alpha_regularizer=alpha_regularizer,
        beta_regularizer=beta_regularizer,
        rescale=rescale,
        include=include,
        exclude=exclude,
        keep_slopes=keep_slopes,
        train_frozen_slopes=train_frozen_slopes,
        verify=verify,
        profile=profile,
    )
    use = SampleUse(
        max_samples=max_samples,
        config=CalibrationConfig(
            refit_frozen=refit_frozen, batch_size=batch_size, memory_limit=memory_limit, seed=seed
        ),
        distillation=DistillationConfig(epochs=distillation_epochs),
        on_step=on_step,
    )
    return _convert(model, arguments, calibration_data, use)


@keeps_state("model")
def _convert(
    model: Any, arguments: ConversionArguments, calibration_data: Any, use: SampleUse
) -> Conversion:
    """Return a converted copy of a model, with the record of the conversion."""
    convert_copy = convert_to_prelu if arguments.to == "prelu" else replace_prelus
    return convert_copy(model, arguments, calibration_data, use)
