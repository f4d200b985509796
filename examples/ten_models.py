"""Ten models of ten kinds, with their data, to try every command on.

    python examples/ten_models.py FOLDER

writes into FOLDER, for each kind, a small trained model and new data that it is for: an image
folder with its own Rescaling, a series, a table with text columns (CSV), a U-Net, two outputs, text
with a TextVectorization, a subclassed model, a KerasHub backbone, binary labels, and a Keras 2
file. The page "A model like yours" of the documentation runs inspect, convert, evaluate, finetune,
report and export on each of them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from sklearn import datasets

L = keras.layers
BACKEND = keras.config.backend()
EPOCHS = 12
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable("ten_models")
class Classifier(keras.Model):
    """A subclassed model: blocks in a list, and functions that its `call` applies."""

    def __init__(self, units: int = 32, classes: int = 10, **kwargs):
        super().__init__(**kwargs)
        self.units, self.classes = units, classes
        self.blocks = [L.Dense(units) for _ in range(2)]
        self.norm = L.BatchNormalization()
        self.head = L.Dense(classes)

    def call(self, inputs, training=False):
        x = keras.ops.relu(self.blocks[0](inputs))
        x = keras.ops.relu(x + self.norm(self.blocks[1](x), training=training))
        return self.head(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "classes": self.classes}


def halves(*arrays: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return one half of some samples to train on, and the other as new data."""
    order = np.random.default_rng(0).permutation(len(arrays[0]))
    middle = len(order) // 2
    return [array[order[:middle]] for array in arrays], [array[order[middle:]] for array in arrays]


def digits(shape: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return images of digits with pixels from 0 to 1 and their classes, in two halves."""
    x, y = datasets.load_digits(return_X_y=True)
    return halves((x[:1200].reshape(-1, *shape) / 16).astype("float32"), y[:1200])


def trained(model: keras.Model, x, y, loss=LOGITS, metrics=None, epochs=EPOCHS) -> keras.Model:
    """Return a model after its training; its metric is the accuracy unless others are given."""
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=metrics or ["accuracy"])
    model.fit(x, y, epochs=epochs, verbose=0)
    return model


def image_folder(folder: Path) -> keras.Model:
    """Images as PNG files, one subfolder per class; the model rescales its inputs."""
    (x, y), (new_x, new_y) = digits((8, 8, 1))
    x, new_x = (np.repeat(255 * np.kron(each, np.ones((1, 2, 2, 1))), 3, -1) for each in (x, new_x))
    for index, (image, label) in enumerate(zip(new_x, new_y, strict=True)):
        path = folder / "images" / f"digit_{label}" / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    layers = [
        L.Rescaling(1 / 255),
        L.Conv2D(16, 3, activation="relu"),
        L.MaxPooling2D(),
        L.Conv2D(32, 3, activation="relu"),
        L.GlobalAveragePooling2D(),
        L.Dense(10),
    ]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    return trained(model, x, y)


def series(folder: Path) -> keras.Model:
    """A series of eight steps with eight values each."""
    (x, y), (new_x, new_y) = digits((8, 8))
    np.savez(folder / "series.npz", x=new_x, y=new_y)
    layers = [
        L.Conv1D(32, 3, padding="causal", activation="relu"),
        L.Conv1D(32, 3, padding="causal", dilation_rate=2, activation="relu"),
        L.GlobalMaxPooling1D(),
        L.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((8, 8)), *layers])
    return trained(model, x, y, "sparse_categorical_crossentropy")


def table(folder: Path) -> keras.Model:
    """A table in a CSV file, with a column of text that the model looks up itself."""
    wine = datasets.load_wine()
    color = np.where(wine.data[:, 9] > 5, "dark", np.where(wine.data[:, 9] > 3, "ruby", "pale"))
    columns = {"color": color, "alcohol": wine.data[:, 0], "flavanoids": wine.data[:, 6]}
    (*known, labels), (*new, new_labels) = halves(*columns.values(), wine.target)
    with open(folder / "wine.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*columns, "cultivar"])
        rows.writerows(zip(*new, new_labels, strict=True))
    inputs = {
        "color": keras.Input((1,), dtype="string", name="color"),
        "alcohol": keras.Input((1,), name="alcohol"),
        "flavanoids": keras.Input((1,), name="flavanoids"),
    }
    lookup = L.StringLookup(vocabulary=["dark", "pale", "ruby"], output_mode="one_hot")
    numbers = L.Normalization()
    numbers.adapt(np.stack(known[1:], axis=1).astype("float32"))
    hidden = L.Concatenate()(
        [
            lookup(inputs["color"]),
            numbers(L.Concatenate()([inputs["alcohol"], inputs["flavanoids"]])),
        ]
    )
    hidden = L.Dense(32, activation="relu")(hidden)
    hidden = L.Dense(32, activation="relu")(hidden)
    model = keras.Model(inputs, L.Dense(3, activation="softmax")(hidden))
    x = {name: column.reshape(-1, 1) for name, column in zip(columns, known, strict=True)}
    x["color"] = keras.ops.convert_to_tensor(x["color"]) if BACKEND == "tensorflow" else x["color"]
    return trained(model, x, labels, "sparse_categorical_crossentropy", epochs=5 * EPOCHS)


def u_net(folder: Path) -> keras.Model:
    """A segmentation: which pixels of a noisy image belong to the digit."""
    (clean, _), (new_clean, _) = digits((8, 8, 1))
    rng = np.random.default_rng(0)
    (x, y), (new_x, new_y) = (
        ((images + rng.normal(0, 0.2, images.shape)).astype("float32"), (images > 0.5) * 1.0)
        for images in (clean, new_clean)
    )
    np.savez(folder / "masks.npz", x=new_x, y=new_y)
    inputs = keras.Input((8, 8, 1))
    fine = L.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    coarse = L.MaxPooling2D()(fine)
    coarse = L.Conv2D(32, 3, padding="same", activation="relu")(coarse)
    up = L.Conv2DTranspose(16, 2, strides=2, activation="relu")(coarse)
    merged = L.Conv2D(16, 3, padding="same", activation="relu")(L.Concatenate()([fine, up]))
    model = keras.Model(inputs, L.Conv2D(1, 1, activation="sigmoid")(merged))
    return trained(model, x, y, "binary_crossentropy", [keras.metrics.BinaryIoU(name="iou")])


def two_outputs(folder: Path) -> keras.Model:
    """The class of a digit, and how much ink it takes."""
    (x, y), (new_x, new_y) = digits((64,))
    ink, new_ink = (each.mean(axis=1, keepdims=True) for each in (x, new_x))
    np.savez(folder / "digit_and_ink.npz", x=new_x, digit=new_y, ink=new_ink)
    inputs = keras.Input((64,))
    hidden = L.Dense(64, activation="relu")(inputs)
    hidden = L.Dense(32, activation="relu")(hidden)
    outputs = {"digit": L.Dense(10, name="digit")(hidden), "ink": L.Dense(1, name="ink")(hidden)}
    model = keras.Model(inputs, outputs)
    losses, metrics = {"digit": LOGITS, "ink": "mse"}, {"digit": "accuracy", "ink": "mae"}
    return trained(model, x, {"digit": y, "ink": ink}, losses, metrics)


def text(folder: Path) -> keras.Model:
    """Lines of text, in a folder for each class, that a TextVectorization turns into numbers."""
    lines, labels = [], []
    for label, load in enumerate((datasets.load_iris, datasets.load_wine)):
        kept = [line.strip() for line in load().DESCR.splitlines() if len(line.strip()) > 20]
        known, new = halves(np.array(kept))
        lines, labels = [*lines, *known[0]], labels + [label] * len(known[0])
        (folder / "lines" / load.__name__).mkdir(parents=True, exist_ok=True)
        for index, line in enumerate(new[0]):
            path = folder / "lines" / load.__name__ / f"{index:03d}.txt"
            path.write_text(line + "\n", encoding="utf-8")
    x = np.array(lines)[:, None]
    vectorization = L.TextVectorization(max_tokens=200, output_mode="multi_hot")
    vectorization.adapt(x)
    inputs = keras.Input((1,), dtype="string")
    hidden = L.Dense(32, activation="relu")(vectorization(inputs))
    model = keras.Model(inputs, L.Dense(2)(hidden))
    x = keras.ops.convert_to_tensor(x) if BACKEND == "tensorflow" else x
    return trained(model, x, np.array(labels), epochs=5 * EPOCHS)


def subclassed(folder: Path) -> keras.Model:
    """A subclassed model whose code calls ReLU as a function; `--import` names this module."""
    (x, y), (new_x, new_y) = digits((64,))
    np.savez(folder / "digits.npz", x=new_x, y=new_y)
    model = Classifier()
    return trained(model, x, y)


def backbone(folder: Path) -> keras.Model:
    """A ResNet of KerasHub as a classifier."""
    import keras_hub

    (x, y), (new_x, new_y) = digits((8, 8, 1))
    x, new_x = (np.kron(each, np.ones((1, 2, 2, 1), "float32")) for each in (x, new_x))
    np.savez(folder / "squares.npz", x=new_x, y=new_y)
    features = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 1),
    )
    model = keras_hub.models.ResNetImageClassifier(features, num_classes=10)
    return trained(model, x, y)


def binary(folder: Path) -> keras.Model:
    """Yes or no: labels of shape (n,) for outputs of shape (n, 1)."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32")
    (x, y), (new_x, new_y) = halves(x, y)
    np.savez(folder / "tumors.npz", x=new_x, y=new_y)
    layers = [L.Dense(32, activation="relu"), L.Dense(32), L.LeakyReLU(0.1)]
    model = keras.Sequential([keras.Input((30,)), *layers, L.Dense(1, activation="sigmoid")])
    metrics = ["accuracy", keras.metrics.AUC(name="auc")]
    return trained(model, x, y, "binary_crossentropy", metrics)


def keras_2(folder: Path) -> keras.Model:
    """A network that is saved as Keras 2 saves it, in HDF5."""
    (x, y), (new_x, new_y) = digits((8, 8, 1))
    np.savez(folder / "images.npz", x=new_x, y=new_y)
    layers = [
        L.Conv2D(16, 3, activation="relu"),
        L.BatchNormalization(),
        L.Flatten(),
        L.Dense(32, activation="relu"),
        L.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    return trained(model, x, y, "sparse_categorical_crossentropy")


KINDS = {
    "images.keras": image_folder,
    "series.keras": series,
    "table.keras": table,
    "u_net.keras": u_net,
    "two_outputs.keras": two_outputs,
    "text.keras": text,
    "subclassed.keras": subclassed,
    "backbone.keras": backbone,
    "binary.keras": binary,
    "keras_2.h5": keras_2,
}


def write(folder: Path, names: Sequence[str] = tuple(KINDS)) -> None:
    """Write models, by the names of their files, and their data."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        keras.utils.clear_session()  # Names of layers do not depend on the models before.
        keras.utils.set_random_seed(0)
        KINDS[name](folder).save(folder / name)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
