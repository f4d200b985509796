"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

from tools.common.networks import RELU_NETWORKS
from tools.fidelity.real.networks import NETWORKS
from tools.fidelity.real.settings import RECIPES, SETTINGS

ALPHA = 0.25
SAMPLES = 512
CURVE = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Photographs:
    """How networks of `keras.applications` are trained and calibrated on photographs.

    Attributes:
        networks: Constructors.
        searched: Those whose slopes are searched, too.
        rescales: Ways of rescaling.
        steps: Most training steps.
        samples: Crops for the calibration.
        test: Crops for the comparison.
        statistics: Batches from which BatchNormalization's statistics are recomputed.
    """

    networks: tuple[str, ...] = RELU_NETWORKS
    searched: tuple[str, ...] = ("ResNet50", "DenseNet121", "MobileNetV2")
    rescales: tuple[str, ...] = ("none", "moments", "calibrated")
    steps: int = 200
    samples: int = SAMPLES
    test: int = 512
    statistics: int = 8


@dataclass(frozen=True)
class Real:
    """How much is measured of networks that were really trained.

    Attributes:
        networks: Their names.
        settings: Names of the ways of converting.
        samples: Number of calibration samples.
        counts: Other numbers of them, for one way.
        test: Samples to compare on.
        seeds: Draws of the samples, and trainings.
        recipes: Recipes of the fine-tuning.
        tuned_on: Labelled samples to fine-tune on.
        epochs: Epochs of the fine-tuning.
    """

    networks: tuple[str, ...] = tuple(network.name for network in NETWORKS)
    settings: tuple[str, ...] = tuple(setting.name for setting in SETTINGS)
    samples: int = SAMPLES
    counts: tuple[int, ...] = (16, 64, 256, 1024, 2048)
    test: int = 2048
    seeds: int = 3
    recipes: tuple[str, ...] = RECIPES
    tuned_on: int = 4096
    epochs: int = 3


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        seeds: Trainings of each small network.
        only: Networks of all parts are measured whose name contains this.
        tasks: Small networks are measured whose name contains this.
        smooth: Networks with smooth activations are measured whose name contains this.
        smooth_costs: Networks of `keras.applications` with smooth activations that are timed, and
            the pixels of their images.
        depths: Convolutions of the chains whose calibration is timed.
        memory: Name and number of samples of each process whose memory is measured.
        memory_layers: Convolutions of its network.
        photographs: What is measured on photographs.
        real: What is measured of networks that were really trained.
    """

    seeds: int = 3
    only: str = ""
    tasks: str = ""
    smooth: str = ""
    smooth_costs: tuple[tuple[str, int], ...] = (
        ("MobileNetV3Small", 224),
        ("EfficientNetB0", 224),
        ("ConvNeXtTiny", 224),
    )
    depths: tuple[int, ...] = (10, 20, 40, 50, 80)
    memory: tuple[tuple[str, int], ...] = (
        ("predict", 2000),
        ("calibrate", 2000),
        ("calibrate", 20000),
        ("spilled", 20000),
    )
    memory_layers: int = 10
    photographs: Photographs = Photographs()
    real: Real = Real()


TRIAL = Effort(
    seeds=1,
    tasks="diabetes",
    smooth="MLP",
    smooth_costs=(("MobileNetV3Small", 32),),
    depths=(2,),
    memory=(("spilled", 200),),
    memory_layers=2,
    photographs=Photographs(
        networks=("MobileNet",),
        searched=(),
        rescales=("none", "calibrated"),
        steps=1,
        samples=40,
        test=32,
        statistics=1,
    ),
    real=Real(
        networks=("upscaler",),
        settings=("default", "0.25"),
        samples=16,
        counts=(),
        test=16,
        seeds=1,
        recipes=("identity",),
        tuned_on=40,
        epochs=1,
    ),
)
