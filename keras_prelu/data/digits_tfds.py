"""The bundled digits as a TensorFlow Datasets builder.

With it `tfds:sklearn_digits` works without a network. Importing this module registers the builder,
which needs tensorflow-datasets and TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_prelu.data.digits import digit_images

__all__ = ["SklearnDigits"]


class SklearnDigits(tfds.core.GeneratorBasedBuilder):
    """Builder of scikit-learn's digits: (8, 8, 1) uint8 images with labels 0–9.

    Grey values are stretched from 0–16 to 0–255.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        return self.dataset_info_from_configs(
            description="The 1,797 8 × 8 images of handwritten digits that scikit-learn bundles.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://scikit-learn.org/stable/datasets/toy_dataset.html#digits-dataset",
        )

    def _split_generators(self, _dl_manager: Any) -> dict[str, Any]:
        x_train, y_train, x_test, y_test = digit_images()
        return {
            "train": self._generate_examples(x_train, y_train),
            "test": self._generate_examples(x_test, y_test),
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": np.round(image * 255.0).astype("uint8"), "label": int(label)}
