"""Serving an exported network with an interpreter of TensorFlow Lite alone: no Keras, no
keras_prelu.

keras-prelu export model.prelu.keras -o model.tflite
python examples/serving/with_tensorflow_lite.py model.tflite
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

try:
    from ai_edge_litert.interpreter import (
        Interpreter,
    )  # pip install ai-edge-litert: the interpreter without the rest of TensorFlow
except ImportError:
    import tensorflow

    Interpreter = tensorflow.lite.Interpreter


def main(path):
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    serve = Interpreter(model_path=path).get_signature_runner()
    (name,) = serve.get_input_details()
    (logits,) = serve(**{name: images}).values()
    print(f"{100 * np.mean(logits.argmax(-1) == digits.target):.1f} % of the digits are right.")


main(sys.argv[1])
