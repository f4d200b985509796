"""Settings and fixtures that all tests share."""

import functools
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Each process of pytest-xdist has one core: threads that wait for each other take longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Keras is imported inside of the functions: the controlling process of pytest-xdist, which the
# others wait for, needs none of it.

FOLDER = Path(__file__).parent
MARKED = {
    "backends": ("backends",),
    "slow": ("slow",),
    "traced": ("unit/custom_layers", "unit/sites"),
    "trained": ("unit/training/test_finetune.py",),
}
"""Marks of all tests in folders or files."""

settings.register_profile("default", max_examples=25, deadline=None)
settings.register_profile("short", max_examples=8, deadline=None)
settings.register_profile("long", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# The many objects that the libraries keep are not looked through again and again: a twentieth of
# the time.
gc.set_threshold(100_000, 20, 20)


@functools.cache
def marks_of_files(path):
    """Return the marks of all tests in a file."""
    around = {path, *path.parents}
    return [
        name for name, paths in MARKED.items() if around & {FOLDER / marked for marked in paths}
    ]


def pytest_collection_modifyitems(items):
    """Mark tests by their folder, and skip those that need another backend."""
    import keras

    for item in items:
        for name in marks_of_files(item.path):
            item.add_marker(name)
        for backend in ("tensorflow", "jax"):
            if item.get_closest_marker(backend) and keras.backend.backend() != backend:
                item.add_marker(pytest.mark.skip(reason=f"needs the backend {backend}"))


def pytest_collection_finish():
    """Exempt all modules from garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _compiled_once(tmp_path_factory):
    """JAX compiles the same program once in this process, though each test defines it anew."""
    import keras

    if keras.backend.backend() != "jax":
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # What was compiled before has settled that there is none.


@pytest.fixture(autouse=True)
def _seeded():
    import keras

    import keras_prelu  # noqa: F401  registers the classes

    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True)
def _no_progress_lines(monkeypatch):
    """What commands print does not depend on the time they take."""
    from keras_prelu.cli import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 1e6)


@pytest.fixture
def optimized():
    """JAX compiles as it does for users, whatever the other tests are compiled with."""
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update(
        "jax_disable_most_optimizations", os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1"
    )


@pytest.fixture(scope="session")
def _readers(tmp_path_factory):
    from tests.helpers.forked_readers import ForkedReaders

    readers = ForkedReaders(tmp_path_factory.mktemp("readers"))
    yield readers
    readers.close()


@pytest.fixture
def forked_readers(_readers, monkeypatch):
    """Keras files are checked in forks of one process, in a tenth of the time of new processes."""
    from keras_prelu.deployment.formats import keras as format_of_keras

    monkeypatch.setattr(format_of_keras, "subprocess", _readers)
