"""Fine-tuning from a `tf.data` pipeline of TensorFlow Datasets, with augmentation, after
calibrating on some of its batches.

    python examples/tfds_pipeline.py [EPOCHS]

prints the accuracy of the ReLU network, of the converted one before and after fine-tuning beside
its control, and the verdict. It needs TensorFlow. The data set is scikit-learn's digits as a
TensorFlow Datasets builder, so that nothing is downloaded; any other works alike.
"""

import sys
import tempfile

import keras
import tensorflow as tf
import tensorflow_datasets as tfds

import keras_prelu as kp
import keras_prelu.data.digits_tfds  # registers "sklearn_digits"


def scaled(image, label):
    return tf.cast(image, tf.float32) / 255.0, label


def shifted(image, label):
    """One of nine shifts by a pixel, the same in each epoch: all networks that are compared see the
    same."""
    offset = tf.random.stateless_uniform(
        [2], [label, tf.cast(1e4 * tf.reduce_mean(image), label.dtype)], 0, 3, tf.int32
    )
    return tf.image.crop_to_bounding_box(
        tf.pad(image, [[1, 1], [1, 1], [0, 0]]), offset[0], offset[1], 8, 8
    ), label


def main(epochs=5):
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        builder = tfds.builder("sklearn_digits", data_dir=folder)
        builder.download_and_prepare()
        train, test = (
            builder.as_dataset(split, as_supervised=True).map(scaled) for split in ("train", "test")
        )
        batches = (
            train.map(shifted)
            .cache()
            .shuffle(2000, seed=0, reshuffle_each_iteration=False)
            .batch(64)
        )
        x_test, y_test = map(tf.convert_to_tensor, next(iter(test.batch(1000))))

        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Conv2D(16, 3, activation="relu"),
                keras.layers.Conv2D(16, 3, activation="relu"),
                keras.layers.Flatten(),
                keras.layers.Dense(10),
            ]
        )
        model.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["sparse_categorical_accuracy"],
        )
        model.fit(batches, epochs=epochs, shuffle=False, verbose=0)
        converted = kp.convert(model, calibration_data=batches.map(lambda image, _: image))
        data = (x_test.numpy(), y_test.numpy())
        for name, network in {"ReLU": model, "converted": converted}.items():
            print(f"{name}: {100 * network.evaluate(*data, verbose=0)[1]:.1f} % of the test digits")
        result = kp.finetune(converted, batches, data, original=model, epochs=epochs)
        for name, run in {"fine-tuned": result.prelu, "its ReLU control": result.control}.items():
            print(f"{name}: {100 * run.score_after:.1f} % of the test digits")
        print(result.verdict)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
