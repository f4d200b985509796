"""Serving an exported network with onnxruntime alone: no TensorFlow, no Keras, no keras_prelu.

keras-prelu export model.prelu.keras -o model.onnx
python examples/serving/with_onnxruntime.py model.onnx
"""

import sys

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits


def main(path):
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    print(f"{100 * np.mean(logits.argmax(-1) == digits.target):.1f} % of the digits are right.")


main(sys.argv[1])
