"""Packaging of keras_prelu: metadata, dependencies, and the `keras-prelu` command."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "([^"]+)"', (ROOT / "keras_prelu" / "version.py").read_text()
).group(1)

EXTRAS = {
    "jax": ["jax>=0.6"],
    "torch": ["torch>=2.4"],
    "onnx": [
        "onnx>=1.17",
        "onnxruntime>=1.19",
        "tf2onnx>=1.16",
    ],  # with JAX jax2onnx instead of the last
    "openvino": ["openvino>=2025.0"],
    "executorch": ["executorch>=1.0"],  # brings PyTorch
    "tensorboard": ["tensorboardX>=2.6"],
    "wandb": ["wandb>=0.21"],
    "mlflow": ["mlflow>=3.0"],
    "tuner": ["keras-tuner>=1.4.7", "tensorboard>=2.18"],  # on TensorFlow, KerasTuner needs both
    "report": ["matplotlib>=3.8", "jinja2>=3.1"],
    "data": [
        "datasets>=3.0",
        "google-crc32c>=1.5",
        "grain>=0.2.10",
        "pandas>=2.2",
        "pyarrow>=15.0",
    ],
    "gpu": ["tensorflow[and-cuda]>=2.18"],
    # Models by name, and tools.fidelity; KerasHub asks for a newer Keras than the package itself.
    "hub": ["keras-hub>=0.32", "huggingface_hub>=0.24"],
    "dev": [
        "build>=1.2",
        "check-wheel-contents>=0.6",
        "datasets>=3.0",
        "furo>=2024.8",
        "google-crc32c>=1.5",
        "gymnasium>=1.0",  # for examples/reinforcement_learning.py
        "grain>=0.2.10",
        "hypothesis>=6.100",
        "import-linter>=2.1",
        "jinja2>=3.1",
        "keras-tuner>=1.4.7",
        "matplotlib>=3.8",
        "mlflow-skinny>=3.0",  # MLflow without its server and database
        "mutmut>=3.8.1",
        "mypy>=1.11",
        "myst-nb>=1.2",
        "myst-parser>=4.0",
        "onnx>=1.17",
        "onnxruntime>=1.19",
        "openvino>=2025.0",
        "pandas>=2.2",
        "pyarrow>=15.0",
        "pytest>=8.2",
        "pytest-cov>=5.0",
        "pytest-xdist>=3.6",
        "ruff>=0.8",
        "soundfile>=0.13",  # for tools.fidelity
        "sphinx>=8.1",
        "sphinx-copybutton>=0.5.2",
        "sphinx-design>=0.6",
        "tensorboard>=2.18",  # for KerasTuner on TensorFlow
        "tensorboardX>=2.6",
        "tf2onnx>=1.16",
        "twine>=6.0",
        "ziamath>=0.12",  # for its font, in the documentation
        "wandb>=0.21",
    ],
}
# What a user may want on the backend that is installed; backends are extras of their own.
OPTIONAL = ("data", "hub", "onnx", "openvino", "report", "tensorboard")
EXTRAS["all"] = sorted({requirement for name in OPTIONAL for requirement in EXTRAS[name]})

setup(
    name="keras-prelu",
    version=VERSION,
    description=(
        "PReLU layers for Keras 3 and model surgery that turns a trained ReLU network into a PReLU"
        " network."
    ),
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url="https://github.com/keras-prelu/keras-prelu",
    project_urls={
        "Documentation": "https://keras-prelu.github.io/keras-prelu/",
        "Changelog": "https://github.com/keras-prelu/keras-prelu/blob/main/CHANGELOG.md",
        "Issues": "https://github.com/keras-prelu/keras-prelu/issues",
    },
    keywords=(
        "keras prelu relu leaky-relu model-surgery fine-tuning calibration tensorflow jax pytorch"
        " onnx tflite"
    ),
    python_requires=">=3.11",
    packages=find_packages(include=["keras_prelu", "keras_prelu.*"]),
    package_data={
        "keras_prelu": ["__init__.pyi", "py.typed"],
        "keras_prelu.report": ["templates/*.html"],
    },
    install_requires=[
        "click>=8.1",
        "filelock>=3.13",
        "h5py>=3.11",
        # Tensorflow-datasets imports it through etils without asking for it
        "importlib-resources>=6.0",
        "keras>=3.13",
        "lazy-loader>=0.4",
        "numpy>=1.26",
        "pillow>=10.0",
        "pyyaml>=6.0",
        "rich>=13.7",
        "scikit-learn>=1.4",
        "scipy>=1.15",
        "tensorflow>=2.18",
        "tensorflow-datasets>=4.9.6",
        "threadpoolctl>=3.5",
        "wrapt>=1.16",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["keras-prelu=keras_prelu.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
