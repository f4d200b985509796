"""One epoch of batches by one way of reading, in a process of its own; prints a line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

BATCH = 128
WAYS = {
    "whole": "`tfds:` below the memory limit: all images in memory",
    "random": "`tfds:` above the memory limit, ArrayRecord files: global shuffle",
    "random-tfrecord": "`tfds:` above the memory limit, TFRecord files: global shuffle",
    "tf.data": "`tfds.load`, shuffle buffer of 1,000, decoded by tf.data",
}


def main(way: str, images: int, folder: str) -> None:
    """Read one epoch and print images, seconds and the peak of memory."""
    from tools.large_data.builder import GeneratedImages

    GeneratedImages.IMAGES = images
    count, seconds = _by_tf_data(folder) if way == "tf.data" else _by_package(folder, way)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert count == images, (count, images)
    print(json.dumps({"way": way, "images": images, "seconds": seconds, "peak_bytes": peak}))


def prepare(file_format: str, images: int, folder: str) -> None:
    """Write the data set in a format, if it is not there."""
    from tools.large_data.builder import GeneratedImages

    GeneratedImages.IMAGES = images
    builder = GeneratedImages(data_dir=folder, file_format=file_format)
    builder.download_and_prepare(download_config=_shards())


def _shards() -> object:
    import tensorflow_datasets as tfds

    return tfds.download.DownloadConfig(num_shards=8)


def _by_package(folder: str, way: str) -> tuple[int, float]:
    import os

    os.environ["TFDS_DATA_DIR"] = folder
    from keras_prelu.data import load
    from keras_prelu.training.data_order import ShuffledBatches

    limit = float("inf") if way == "whole" else 1e6
    start = time.perf_counter()
    samples = load("tfds:generated_images:train", memory_limit=limit).train
    batches = ShuffledBatches(samples, BATCH, seed=0)
    count = sum(len(batches[index][0]) for index in range(len(batches)))
    return count, time.perf_counter() - start


def _by_tf_data(folder: str) -> tuple[int, float]:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    start = time.perf_counter()
    data = tfds.load(
        "generated_images", split="train", data_dir=folder, as_supervised=True, shuffle_files=True
    )
    data = data.map(lambda x, y: (tf.cast(x, "float32") / 255.0, y), tf.data.AUTOTUNE)
    data = data.shuffle(1000, seed=0).batch(BATCH).prefetch(2)
    count = sum(len(x.numpy()) for x, _ in data)
    return count, time.perf_counter() - start


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
