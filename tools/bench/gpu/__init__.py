"""What PReLU costs on a GPU: the activation alone, a training step of ResNet50, and the whole job
from conversion to fine-tuning. Run `KERAS_BACKEND=jax python -m tools.bench.gpu`."""
