"""What every command shares: the options `--json`, `--backend`, `--seed`, `--import` and `--debug`,
and starting Keras."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from keras_prelu.cli.errors import set_debug
from keras_prelu.errors import KerasPReLUError, KerasPReLUWarning
from keras_prelu.utils.quiet import let_all_through, silenced

__all__ = ["Session", "session_options"]

_BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class Session:
    """The shared options of one call.

    Attributes:
        json: Whether standard output gets one JSON object instead of tables.
        seed: Of everything random.
        allow_unsafe: Whether Python code in model files is run.
    """

    json: bool
    seed: int
    allow_unsafe: bool


def session_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the shared options to a command; it is called with `session=` after Keras has been
    started."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."
    )
    @click.option(
        "--backend",
        type=click.Choice(_BACKENDS),
        help="Keras backend.  [default: KERAS_BACKEND, else tensorflow]",
    )
    @click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    )
    @click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        help="Import a module that registers custom layers.",
    )
    @click.option(
        "--allow-unsafe",
        is_flag=True,
        help="Run the Python code of Lambda layers in model files, as if they were programs.",
    )
    @click.option(
        "--debug",
        is_flag=True,
        callback=set_debug,
        help="Show tracebacks, and all that the libraries print.",
    )
    @functools.wraps(function)
    def command(
        *args: Any,
        as_json: bool,
        backend: str | None,
        seed: int,
        modules: tuple[str, ...],
        allow_unsafe: bool,
        debug: bool,
        **kwargs: Any,
    ) -> None:
        with _notes(debug):
            _start(backend, seed, modules, debug)
            function(*args, session=Session(as_json, seed, allow_unsafe), **kwargs)

    return command


def _start(backend: str | None, seed: int, modules: tuple[str, ...], debug: bool) -> None:
    if (
        backend is not None
        and "keras" in sys.modules
        and sys.modules["keras"].backend.backend() != backend
    ):
        raise KerasPReLUError(
            f"Keras runs on another backend in this process already; {backend} can't be chosen any"
            " more."
        )
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    if debug:
        let_all_through()
    with silenced():
        try:
            import keras

            # On JAX and PyTorch Keras imports an installed TensorFlow when it first serializes
            # something. Let it speak here, unheard.
            keras.saving.serialize_keras_object(keras.dtype_policies.get("float32"))
        except ImportError as error:
            name = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
            extra = f"'keras-prelu[{name}]'" if name in ("jax", "torch") else name
            raise KerasPReLUError(
                f"The Keras backend {name} can't be imported ({error}). Install it: pip install"
                f" {extra}."
            ) from error
    if not debug:
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)
    keras.utils.set_random_seed(seed)
    if modules and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise KerasPReLUError(f"--import {module}: {error}.") from error


@contextlib.contextmanager
def _notes(debug: bool) -> Iterator[None]:
    """Show this package's own warnings as notes; a third party's only with `--debug`."""
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", KerasPReLUWarning)
        show = warnings.showwarning

        def note(message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if issubclass(category, KerasPReLUWarning):
                click.echo(f"Note: {message}", err=True)
            else:
                show(message, category, *args, **kwargs)

        warnings.showwarning = note
        yield
