"""The formats that a model can be exported to, by name.

A new format is a subclass of `base.Format` in a module of its own, a line here, and its name in
`cli.commands.export`.
"""

from keras_prelu.deployment.formats.base import Format
from keras_prelu.deployment.formats.executorch import ExecuTorch
from keras_prelu.deployment.formats.keras import KerasFile
from keras_prelu.deployment.formats.onnx.format import OnnxFile
from keras_prelu.deployment.formats.openvino import OpenVino
from keras_prelu.deployment.formats.saved_model import SavedModel
from keras_prelu.deployment.formats.tflite import TensorFlowLite
from keras_prelu.deployment.formats.torch_export import TorchProgram

__all__ = ["FORMATS"]

FORMATS: dict[str, type[Format]] = {
    cls.name: cls
    for cls in (
        KerasFile,
        SavedModel,
        TensorFlowLite,
        OnnxFile,
        OpenVino,
        TorchProgram,
        ExecuTorch,
    )
}
