"""A converted and fine-tuned network for TensorFlow Lite and onnxruntime, in float and in int8,
checked there.

    python examples/deploy.py [EPOCHS]

prints for each file its size, its operations for activations, the largest difference to the Keras
model, and how many of the test digits it is right on. It needs TensorFlow and `pip install
'keras-prelu[onnx]'`. Scripts that run such files without Keras are in examples/serving.
"""

import sys
import tempfile
from pathlib import Path

import keras

import keras_prelu as kp


def main(epochs=5):
    keras.utils.set_random_seed(0)
    digits = kp.data.load("digits")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(digits.train.x, digits.train.y, epochs=epochs, verbose=0)
    converted = kp.convert(model, calibration_data=digits.train.x[:512])
    tuned = kp.finetune(converted, digits.train, digits.test, epochs=epochs, control=False).model
    for group in kp.equalize(tuned):  # for int8: channels alike in size, the function unchanged
        print(f"{', '.join(group.producers)}: {group.action}")
    files = {
        "float.tflite": {},
        "int8.tflite": {"quantize": "int8"},
        "model.onnx": {},
        "cpu.onnx": {"optimize_for": "cpu"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in files.items():
            found = kp.export(
                tuned, Path(folder) / name, samples=digits.test.x, labels=digits.test.y, **settings
            )
            activations = {
                kind: count for kind, count in found.operations.items() if "relu" in kind.lower()
            }
            print(
                f"{name}: {found.bytes / 1000:.1f} kB, {activations}, difference"
                f" {found.difference:.1e}",
                end=", ",
            )
            print(
                f"{found.accuracy:.1f} % of the test digits (Keras: {found.accuracy_of_model:.1f})"
            )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
