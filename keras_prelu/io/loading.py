"""Loading of models by the names that people have: files, folders, and published models."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import keras

from keras_prelu.errors import FileError
from keras_prelu.io.file_loading import (
    HDF5,
    check_kind,
    holds_weights_alone,
    load_file,
    load_weights,
)
from keras_prelu.io.model_folders import model_in, only_file
from keras_prelu.io.model_names import ModelName
from keras_prelu.io.published import hugging_face_folder, keras_application, keras_hub_model
from keras_prelu.utils.checks import check_path
from keras_prelu.utils.signatures import around_calls
from keras_prelu.utils.suggestions import similar_file

__all__ = ["ModelLike", "load_model", "models_by_name"]

ModelLike: TypeAlias = Any
"""A `keras.Model`, or a path or name as `load_model` takes it; type checkers don't know Keras."""

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def load_model(
    model: str | os.PathLike[str],
    *,
    allow_unsafe: bool = False,
    build: Callable[[], keras.Model] | None = None,
) -> keras.Model:
    """Load a model from a file or folder, or a published model by its name.

    What comes from the network is cached where its package caches it, and taken from there the next
    time; the log ("keras_prelu") says where.

    Args:
        model: String or path. One of

            - a `.keras` file, a legacy `.h5` file of Keras 2 or 3, or a folder with what Keras or
              KerasHub saved;
            - "applications:MobileNetV2": a network of `keras.applications`, with the weights that
              were trained on ImageNet;
            - "keras_hub:resnet_50_imagenet": a preset of KerasHub, as the task that it holds, or
              else as its backbone; "keras_hub:Backbone:resnet_50_imagenet" as what is named;
            - "hf://user/model": a Keras or KerasHub model on Hugging Face;
            - a file with weights alone, such as `model.weights.h5`, together with `build`.
        allow_unsafe: Boolean. Whether Python code in a file, such as that of a Lambda layer, is
            run. Use it only for files that you would run as a program. Defaults to False, Keras's
            safe mode.
        build: Function without arguments that returns the model that a file with weights alone
            belongs to. Other files don't need it. Defaults to None.

    Returns:
        A `keras.Model`. If only the compile settings in a file can't be read, such as those of
        Keras 2 or a loss that is not registered, it is not compiled, and a warning says so.

    Raises:
        FileError: There is no such file or model, it is not a Keras model, it is damaged, it uses a
            class that is not registered, or it can't be downloaded; the message states the cause.

    Example:

    >>> model = keras_prelu.load_model("model.prelu.keras")
    """
    check_path("model", model)
    name = ModelName(model)
    if name.kind == "applications":
        return keras_application(name)
    if name.kind == "keras_hub":
        return keras_hub_model(name)
    if name.kind == "hf":
        return _load_folder(hugging_face_folder(name), name, allow_unsafe)
    path = name.path
    if path.is_dir():
        return _load_folder(path, name, allow_unsafe)
    if not path.exists():
        raise FileError(f"No such file: '{name}'.{_advice(name)}")
    check_kind(path)
    if path.suffix in HDF5 and holds_weights_alone(path):
        return load_weights(path, build)
    return load_file(path, allow_unsafe=allow_unsafe)


def _load_folder(folder: Path, name: ModelName, allow_unsafe: bool) -> keras.Model:
    """Load what Keras or KerasHub saved in a folder, or the only model file in it."""
    kind = model_in(folder)
    if kind == "keras":
        return load_file(folder, allow_unsafe=allow_unsafe)
    if kind == "preset":
        return keras_hub_model(ModelName(f"keras_hub:{folder}"))
    return load_file(only_file(folder, name), allow_unsafe=allow_unsafe)


def _advice(name: ModelName) -> str:
    """Return what may have been meant by a path that does not exist, or ""."""
    meant = name.meant()
    if meant:
        return f" Did you mean {meant}?"
    if name.rest in dir(keras.applications):
        return f" Did you mean applications:{name}?"
    if not Path(name).suffix and os.sep not in name:
        return " Models by name: applications:NAME, keras_hub:PRESET or hf://USER/MODEL."
    return similar_file(name.path)


def models_by_name(
    *names: str,
) -> Callable[[Callable[_Parameters, _Result]], Callable[_Parameters, _Result]]:
    """Return a decorator with which a function takes models also by path or name.

    Args:
        *names: Strings. The parameters of the function that are models.
    """

    def call(function: Callable[..., Any], bound: inspect.BoundArguments) -> Any:
        for name in names:
            if isinstance(bound.arguments.get(name), (str, os.PathLike)):
                bound.arguments[name] = load_model(bound.arguments[name])
        return function(*bound.args, **bound.kwargs)

    return around_calls(call)
