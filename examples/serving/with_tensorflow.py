"""Serving an exported network with TensorFlow alone, as TensorFlow Serving does: no keras_prelu,
and none of the model's Python code.

keras-prelu export model.prelu.keras -o model
python examples/serving/with_tensorflow.py model
"""

import sys

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits


def main(path):
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    served = tf.saved_model.load(path)
    logits = served.serve(tf.constant(images)).numpy()
    print(f"{100 * np.mean(logits.argmax(-1) == digits.target):.1f} % of the digits are right.")


main(sys.argv[1])
