"""The public names of keras_prelu. This stub is also what the package's lazy import reads."""

from . import constraints as constraints
from . import data as data
from . import diagnostics as diagnostics
from . import errors as errors
from . import initializers as initializers
from . import parameterizations as parameterizations
from . import regularizers as regularizers
from . import theory as theory
from .diagnostics.comparison import Comparison as Comparison
from .diagnostics.comparison import compare as compare
from .errors import KerasPReLUError as KerasPReLUError
from .files import load_model as load_model
from .files import save_model as save_model
from .layers import PReLU as PReLU
from .ops import prelu as prelu
from .surgery.calibrate import calibrate as calibrate
from .surgery.calibration import Calibration as Calibration
from .surgery.convert import convert as convert
from .surgery.equalize import Equalization as Equalization
from .surgery.equalize import equalize as equalize
from .surgery.sites import Site as Site
from .surgery.sites import find_sites as find_sites
from .training.finetune import FineTuning as FineTuning
from .training.finetune import finetune as finetune
from .version import __version__ as __version__
