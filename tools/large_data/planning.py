"""`python -m tools.large_data.planning`: what the plan of a run on ImageNet is made from, beside the
times of the GPU: processor time an image, and what a checkpoint takes."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from tools.common.machine import describe, machine

FOLDER = Path(__file__).parent
_KINDS = {"photographs": (375, 500, 110_000), "small": (224, 224, 35_000)}
"""Height, width and bytes of a file: of ImageNet's photographs, and of such that were shrunk."""


@click.command()
@click.option("--images", type=int, default=256, show_default=True, help="Images of each kind.")
@click.option("--parameters", type=int, default=25_600_000, show_default=True, help="Weights.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the results.")
def main(images: int, parameters: int, output: Path | None) -> None:
    """Measure processor seconds an image, and the seconds that a checkpoint takes."""
    with tempfile.TemporaryDirectory() as folder:
        stored: dict[str, Any] = {
            "machine": describe([machine("pillow")]),
            "images": images,
            "decoding": {
                kind: _decoded(Path(folder) / kind, images, *size) for kind, size in _KINDS.items()
            },
            "stacking_ms": _stacked(images),
            "checkpoint": _checkpoint(Path(folder), parameters),
        }
    folder_of_results = output or FOLDER
    folder_of_results.mkdir(parents=True, exist_ok=True)
    (folder_of_results / "planning.json").write_text(json.dumps(stored, indent=1) + "\n")
    (folder_of_results / "PLANNING.md").write_text(_report(stored))
    click.echo(_report(stored))


def _decoded(folder: Path, images: int, height: int, width: int, size: int) -> dict[str, float]:
    """Write images of about a size as JPEG files, and read them as a training does."""
    from keras_prelu.data import load
    from keras_prelu.training.data_order import ShuffledBatches

    written = _write(folder, images, height, width, size)
    samples = load(f"dir:{folder}", input_shape=(224, 224, 3), memory_limit=1.0).train
    batches = ShuffledBatches(samples, 32, seed=0)
    batches[0]
    start, busy = time.perf_counter(), _processor_seconds()
    count = sum(len(batches[index][0]) for index in range(len(batches)))
    return {
        "bytes": written / images,
        "processor_ms": 1e3 * (_processor_seconds() - busy) / count,
        "ms": 1e3 * (time.perf_counter() - start) / count,
    }


def _write(folder: Path, images: int, height: int, width: int, size: int) -> int:
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (folder / part / "0").mkdir(parents=True)
    waves = np.sin(np.linspace(0, 20, height))[:, None] + np.sin(np.linspace(0, 30, width))
    path, scale, written = folder / "test" / "0" / "0.jpg", 5.0, 0
    while True:  # Noise makes up the size.
        noise = rng.normal(scale=scale, size=(height, width, 3))
        pixels = np.clip(127.5 + 60.0 * waves[..., None] + noise, 0, 255).astype("uint8")
        Image.fromarray(pixels).save(path, quality=90)
        if path.stat().st_size >= size:
            break
        scale *= 1.1
    for index in range(images):
        path = folder / "train" / "0" / f"{index}.jpg"
        Image.fromarray(np.roll(pixels, index, axis=1)).save(path, quality=90)
        written += path.stat().st_size
    return written


def _stacked(images: int) -> float:
    """Return the milliseconds an image that one thread takes to put a batch together."""
    parts = [np.ones((224, 224, 3), "float32") for _ in range(images)]
    np.stack(parts)
    start = time.thread_time()
    np.stack(parts)
    return 1e3 * (time.thread_time() - start) / images


def _checkpoint(folder: Path, parameters: int) -> dict[str, float]:
    """Write and read a state of four arrays for each weight: weights, best ones, Adam's two."""
    from keras_prelu.training.checkpoint_file import StateFile

    arrays = [np.ones(parameters // 64, "float32") for _ in range(4 * 64)]
    file = StateFile(folder / "state.npz")
    start, busy = time.perf_counter(), _processor_seconds()
    file.write({"arrays": arrays})
    written, busy = time.perf_counter() - start, _processor_seconds() - busy
    start = time.perf_counter()
    file.read()
    return {
        "bytes": file.path.stat().st_size,
        "write_s": written,
        "write_processor_s": busy,
        "read_s": time.perf_counter() - start,
    }


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _report(stored: dict[str, Any]) -> str:
    lines = [
        "# What a plan of a run is made from",
        "",
        f"By `python -m tools.large_data.planning`. {stored['machine']}. Processor time is that of all",
        "threads, to which other programs add little; the time that passes depends on the processors.",
        "",
        "| work | processor time | time that passed |",
        "|---|---:|---:|",
    ]
    names = {
        "photographs": "an image from a JPEG file of 500 × 375 ({size:.0f} kB), resized to 224 × 224",
        "small": "an image from a JPEG file of 224 × 224 ({size:.0f} kB)",
    }
    for kind, found in stored["decoding"].items():
        name = names[kind].format(size=found["bytes"] / 1e3)
        lines.append(f"| {name} | {found['processor_ms']:.1f} ms | {found['ms']:.1f} ms |")
    state = stored["checkpoint"]
    lines += [
        "| putting an image of 224 × 224 into a float32 batch, in one thread |"
        f" {stored['stacking_ms']:.2f} ms | – |",
        f"| writing a state of {state['bytes'] / 1e6:.0f} MB | {state['write_processor_s']:.1f} s"
        f" | {state['write_s']:.1f} s |",
        f"| reading it | – | {state['read_s']:.1f} s |",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
