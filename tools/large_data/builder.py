"""A data set of generated images, in several shards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

__all__ = ["GeneratedImages"]

SIDE = 64


class GeneratedImages(tfds.core.GeneratorBasedBuilder):
    """Builder of smooth color images of 64 × 64 in 10 classes; `IMAGES` says how many."""

    VERSION = tfds.core.Version("1.0.0")
    IMAGES = 50_000

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            description="Generated images.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, _dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        rng = np.random.default_rng(0)
        waves = np.linspace(0.0, 2.0 * np.pi, SIDE)
        for index in range(self.IMAGES):
            along, across, phase = rng.integers(1, 5), rng.integers(1, 5), rng.uniform(0, 6.3, 3)
            pattern = np.sin(along * waves)[:, None] + np.sin(across * waves)[None]
            image = 127.5 + 60.0 * np.sin(pattern[..., None] + phase)
            yield index, {"image": image.astype("uint8"), "label": int(index % 10)}
