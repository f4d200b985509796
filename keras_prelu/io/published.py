"""Published models by name: `keras.applications`, KerasHub, and Hugging Face.

Each package downloads and caches its models itself. What is added here are one line on where they
are cached, and errors of one line.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_prelu.errors import FileError, reason_of
from keras_prelu.io.file_loading import as_model
from keras_prelu.io.model_names import ModelName
from keras_prelu.io.validation import check_folder
from keras_prelu.utils.suggestions import did_you_mean

__all__ = ["hugging_face_folder", "keras_application", "keras_hub_model"]

_log = logging.getLogger("keras_prelu")

# Classes of exceptions by name, since the packages that define them are optional, and what Keras's
# own exception says, which is an `Exception`.
_OFFLINE_CLASSES = {
    "ConnectError",
    "ConnectionError",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ProxyError",
    "Timeout",
    "URLError",
}
_OFFLINE_TEXT = "URL fetch failure"


def keras_application(name: ModelName) -> keras.Model:
    """Return a network of `keras.applications` with its weights for ImageNet.

    Raises:
        FileError: There is no such network, or its weights are neither cached nor downloadable.
    """
    networks = {
        key: value for key, value in vars(keras.applications).items() if inspect.isfunction(value)
    }
    if name.rest not in networks:
        suggestion = did_you_mean(name.rest, networks, count=3)
        raise FileError(f"keras.applications has no '{name.rest}'.{suggestion}")
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    with _downloads(name, home / "models"):
        return networks[name.rest](weights="imagenet")


def hugging_face_folder(name: ModelName) -> Path:
    """Return the folder in Hugging Face's cache that holds a model, downloaded if it is not there.

    Raises:
        FileError: There is no such model, or it is neither cached nor downloadable.
    """
    hub = _imported("huggingface_hub", "hub", name)
    constants = _imported("huggingface_hub.constants", "hub", name)
    with _downloads(name, Path(constants.HF_HUB_CACHE)):
        return Path(
            hub.snapshot_download(
                repo_id=name.rest, library_name="keras", library_version=keras.version()
            )
        )


def keras_hub_model(name: ModelName) -> keras.Model:
    """Return a preset of KerasHub: the task that it holds, or else its backbone.

    Args:
        name: `ModelName` of the form "keras_hub:PRESET" or "keras_hub:CLASS:PRESET". The preset is
            one of KerasHub's, a handle "kaggle://…" or "hf://…", or a folder.

    Raises:
        FileError: There is no such preset or class, or it is neither cached nor downloadable.
    """
    keras_hub = _imported("keras_hub", "hub", name)
    class_name, preset = _class_and_preset(name.rest)
    known = keras_hub.models.Backbone.presets
    if Path(preset).is_dir():
        return as_model(preset, lambda: _model_in(keras_hub, class_name, Path(preset)))
    if preset not in known and "://" not in preset:
        suggestion = did_you_mean(preset, known, count=3)
        raise FileError(f"KerasHub has no preset '{preset}'.{suggestion}")
    handle = known[preset]["kaggle_handle"] if preset in known else preset
    with _downloads(name, _cache_of(handle)):
        return _loader(keras_hub, class_name, handle).from_preset(preset)


def _model_in(keras_hub: Any, class_name: str, folder: Path) -> Any:
    check_folder(folder)
    return _loader(keras_hub, class_name, str(folder)).from_preset(str(folder))


def _loader(keras_hub: Any, class_name: str, handle: str) -> Any:
    """Return the class that loads a preset: the named one, its task's, or Backbone."""
    if class_name:
        return _class_named(keras_hub, class_name)
    return _task_class(handle) or keras_hub.models.Backbone


def _class_and_preset(text: str) -> tuple[str, str]:
    """Split "CLASS:PRESET"; the class is "" if there is none."""
    first, colon, rest = text.partition(":")
    if colon and not rest.startswith("//") and first.isidentifier():
        return first, rest
    return "", text


def _class_named(keras_hub: Any, name: str) -> Any:
    found = getattr(keras_hub.models, name, None)
    if not hasattr(found, "from_preset"):
        suggestion = did_you_mean(name, vars(keras_hub.models), count=3)
        raise FileError(f"KerasHub has no model '{name}'.{suggestion}")
    return found


def _task_class(handle: str) -> Any:
    """Return the class of the task that a preset holds, or None if it is a backbone alone."""
    path = _preset_file(handle, "task.json")
    if path is None:
        return None
    task = json.loads(path.read_text(encoding="utf-8"))
    return keras.saving.get_registered_object(str(task.get("registered_name")))


def _preset_file(handle: str, name: str) -> Path | None:
    """Return a file of a preset, downloaded as KerasHub does it, or None if it has no such file."""
    scheme, separator, rest = handle.partition("://")
    if not separator:
        path = Path(handle) / name
        return path if path.exists() else None
    if scheme == "kaggle":
        import kagglehub
        from kagglehub.exceptions import KaggleApiHTTPError

        try:
            return Path(kagglehub.model_download(rest, name))
        except (KaggleApiHTTPError, ValueError) as error:
            if "404 Client Error" in str(error) or "not present" in str(error):
                return None
            raise
    if scheme == "hf":
        from huggingface_hub import errors, hf_hub_download

        try:
            return Path(hf_hub_download(rest, name))
        except errors.LocalEntryNotFoundError:  # An EntryNotFoundError too, but of the network.
            raise
        except errors.EntryNotFoundError:
            return None
    return None


def _cache_of(handle: str) -> Path:
    """Return the folder in which KerasHub's downloads of a handle are cached."""
    if handle.startswith("hf://"):
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")


@contextlib.contextmanager
def _downloads(name: ModelName, cache: Path) -> Iterator[None]:
    """Log where a model is cached, and turn errors of the network into one line."""
    _log.info("Loading %s from its cache, %s; what is missing there is downloaded.", name, cache)
    try:
        yield
    except FileError:
        raise
    except Exception as error:  # Each package passes on what its network library raises.
        if _is_offline(error):
            raise FileError(
                f"'{name}' is not complete in {cache}, and can't be downloaded:"
                f" {reason_of(error, 120)}. Connect to the network, or copy the cache of a machine"
                " that has it."
            ) from error
        raise FileError(f"'{name}' can't be loaded: {reason_of(error)}.") from error


def _is_offline(error: BaseException | None) -> bool:
    """Return whether an exception, or one that it was raised from, is one of the network."""
    while error is not None:
        names = {each.__name__ for each in type(error).__mro__}
        if names & _OFFLINE_CLASSES or _OFFLINE_TEXT in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _imported(module: str, extra: str, name: ModelName) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FileError(
            f"'{name}' needs {module} ({reason_of(error, 80)}): pip install 'keras-prelu[{extra}]'."
        ) from error
