"""Damaged archives through `keras-prelu convert`, many in one process, each with a time limit."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from tools.common.processes import emit, quiet
from tools.fuzz.limits import TooLong, limited
from tools.fuzz.processes import WRITTEN

SECONDS_EACH = 60


@dataclass(frozen=True)
class Case:
    """One damaged archive.

    Attributes:
        seed: Recreates the archive.
        mutation: Name of the mutation.
        exit_code: Exit status of the command.
        message: Its last line on standard error.
        broken: Which promise was broken, or "".
    """

    seed: int
    mutation: str
    exit_code: int
    message: str
    broken: str


def attempt(seed: int, bases: list[bytes]) -> Case:
    """Damage an archive and convert it."""
    from click.testing import CliRunner

    from keras_prelu.cli.main import main
    from tools.fuzz.mutations import mutate

    rng = random.Random(seed)
    mutation, archive = mutate(rng.choice(bases), rng)
    with tempfile.TemporaryDirectory() as name, limited(SECONDS_EACH):
        folder = Path(name)
        (folder / "model.keras").write_bytes(archive)
        result = CliRunner().invoke(main, ["convert", str(folder / "model.keras")])
        lines = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
        broken = _broken(folder, archive, result.exit_code, lines, result.exception)
        return Case(
            seed=seed,
            mutation=mutation,
            exit_code=result.exit_code,
            message=(lines or [""])[-1][:300],
            broken=broken,
        )


def _broken(
    folder: Path, archive: bytes, exit_code: int, lines: list[str], exception: BaseException | None
) -> str:
    import keras_prelu as kp

    files = {path.name for path in folder.iterdir()}
    if (folder / "model.keras").read_bytes() != archive:
        return "the input was changed"
    if exit_code == 0:
        if files != {"model.keras", *WRITTEN}:
            return f"success, but the folder holds {sorted(files)}"
        kp.load_model(folder / "model.prelu.keras")
        return ""
    if exception is not None and not isinstance(exception, SystemExit):
        return f"an exception came through: {exception!r}"[:300]
    if files != {"model.keras"}:
        return f"failure, but the folder holds {sorted(files)}"
    if len(lines) != 1 or not lines[0].startswith("Error: ") or "please report it" in lines[0]:
        return f"not one clear line: {lines[:3]}"
    return ""


def bases() -> list[bytes]:
    """Return archives of small networks of several kinds, one of them converted in part."""
    import keras

    import keras_prelu as kp

    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    body = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="body")
    outer = keras.Input((8, 8, 3))
    dense = layers.Dense(3, activation="relu")
    networks = [
        keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8, activation="relu"),
                layers.Dropout(0.1),
                layers.Dense(3),
            ]
        ),
        body,
        keras.Model(outer, layers.Dense(3)(keras.ops.relu(body(outer)))),
        keras.Sequential(
            [
                keras.Input((5, 3)),
                layers.LSTM(4, return_sequences=True),
                layers.TimeDistributed(dense),
            ]
        ),
    ]
    networks[0].compile("adam", "mse")
    half = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.TimeDistributed(layers.Dense(4, activation="relu")),
            layers.Dense(3, "relu"),
        ]
    )
    networks.append(kp.convert(half, rescale="none", include="time_distributed*"))
    archives = []
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            network.save(Path(folder) / "model.keras")
            archives.append((Path(folder) / "model.keras").read_bytes())
    return archives


@click.command()
@click.argument("first", type=int)
@click.argument("count", type=int)
def main(first: int, count: int) -> None:
    """Print a JSON line before and after each of COUNT seeds from FIRST on: a crash ends the
    process, and the last line tells where."""
    quiet()
    archives = bases()
    for seed in range(first, first + count):
        print(json.dumps({"starting": seed}), flush=True)
        emit(_attempt_anything(seed, archives))


def _attempt_anything(seed: int, archives: list[bytes]) -> Case:
    try:
        return attempt(seed, archives)
    except TooLong:
        broken = f"it took longer than {SECONDS_EACH} s"
    except Exception as error:
        broken = f"the output can't be loaded: {error}"[:300]
    return Case(seed=seed, mutation="", exit_code=-1, message="", broken=broken)


if __name__ == "__main__":
    main()
