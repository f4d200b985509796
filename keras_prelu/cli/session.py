"""Start of Keras for one command, with the settings of the whole process that it needs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from keras_prelu.cli.errors import with_options
from keras_prelu.cli.output import echo
from keras_prelu.errors import KerasPReLUError, KerasPReLUWarning
from keras_prelu.utils.import_path import imports_from_working_directory, keeps_import_path
from keras_prelu.utils.process_state import SharedChange
from keras_prelu.utils.quiet import errors_alone, nothing_silenced, silenced

__all__ = ["BACKENDS", "keras_session"]

BACKENDS = ("tensorflow", "jax", "torch")
_NOISY_LOGGERS = ("tensorflow", "absl")


@contextlib.contextmanager
def keras_session(
    *, backend: str | None, seed: int, modules: Sequence[str], debug: bool
) -> Iterator[None]:
    """Start Keras, and run the body with this package's warnings printed as notes.

    Args:
        backend: String or None. The Keras backend; None leaves the choice to Keras.
        seed: Integer. Seed of all random numbers.
        modules: Sequence of strings. Names of modules to import, which may lie in the working
            directory.
        debug: Boolean. Whether the libraries' own output is shown.

    Raises:
        KerasPReLUError: The backend or a module cannot be imported.
    """
    with contextlib.ExitStack() as stack:
        if debug:
            stack.enter_context(nothing_silenced())
        stack.enter_context(_warnings_as_notes(third_parties=debug)())
        stack.enter_context(_log_as_lines()())
        stack.enter_context(keeps_import_path())
        _choose_backend(backend)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
        keras = _import_keras()
        # Placed here because absl replaces the class of its logger when it is imported, so the
        # logger must not exist before.
        for name in _NOISY_LOGGERS:
            stack.enter_context(errors_alone(name))
        keras.utils.set_random_seed(seed)
        if modules:
            with imports_from_working_directory():
                _import_modules(modules)
        yield


@functools.cache
def _log_as_lines() -> SharedChange:
    """Return the change that prints what this package logs, on standard error."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            echo(record.getMessage(), err=True)

    def make() -> Callable[[], None]:
        logger, handler = logging.getLogger("keras_prelu"), Lines()
        level, propagates = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False

        def undo() -> None:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates

        return undo

    return SharedChange(make)


def _choose_backend(backend: str | None) -> None:
    """Set KERAS_BACKEND, which Keras reads once per process, when it is imported."""
    if backend is None:
        return
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != backend:
        raise KerasPReLUError(
            "Keras already runs on another backend in this process. Choose"
            f" {backend} in a new process."
        )
    os.environ["KERAS_BACKEND"] = backend


def _import_keras() -> Any:
    """Import Keras with its backend, and return it."""
    chosen = os.environ.get("KERAS_BACKEND")
    if chosen and chosen not in BACKENDS:
        raise KerasPReLUError(
            f"KERAS_BACKEND is '{chosen}'. Set it to {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}."
        )
    with silenced():
        try:
            import keras

            # On JAX and PyTorch, Keras imports an installed TensorFlow when it first serializes an
            # object. Doing it here keeps TensorFlow's messages inside `silenced`.
            keras.saving.serialize_keras_object(keras.dtype_policies.get("float32"))
        except ImportError as error:
            name = os.environ.get("KERAS_BACKEND") or "tensorflow"
            extra = f"'keras-prelu[{name}]'" if name in ("jax", "torch") else name
            raise KerasPReLUError(
                f"The Keras backend {name} can't be imported ({error}). Install it: pip install"
                f" {extra}."
            ) from error
    return keras


def _import_modules(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise KerasPReLUError(f"--import {module}: {error}.") from error


def _in_options(message: str) -> str:
    """Return a message with options in place of arguments, if a command runs in this thread."""
    context = click.get_current_context(silent=True)
    return message if context is None else with_options(message, context.find_root())


@functools.cache
def _warnings_as_notes(*, third_parties: bool) -> SharedChange:
    """Return the change that prints this package's warnings as one-line notes on standard error.

    Python documents the assignment to `warnings.showwarning` as the way to print warnings in
    another form. `warnings.catch_warnings` restores the function and the filters. Failure mode:
    both belong to the whole process, so warnings of other threads are printed in the same way
    meanwhile, and filters that other threads set meanwhile are lost.

    Args:
        third_parties: Boolean. Whether warnings of other packages are shown, as Python prints them.
    """

    def make() -> Callable[[], None]:
        restoring = contextlib.ExitStack()
        restoring.enter_context(warnings.catch_warnings())
        if not third_parties:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", KerasPReLUWarning)
        show_other = warnings.showwarning

        def show(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if issubclass(category, KerasPReLUWarning):
                echo(f"Note: {_in_options(str(message))}", err=True)
            else:
                show_other(message, category, *args, **kwargs)

        warnings.showwarning = show
        return restoring.close

    return SharedChange(make)
