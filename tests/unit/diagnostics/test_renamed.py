"""keras_prelu.diagnostics: the public names of version 0.1.0 are aliases that warn."""

import importlib
import sys

import pytest

from keras_prelu import diagnostics

FORMER = {
    "Normalization": "BatchNormGamma",
    "embeddings": "embedding_statistics",
    "influences": "channel_influences",
    "noise": "gradient_noise",
    "normalizations": "batch_norm_gammas",
    "rescaled": "rescale_channels",
    "scales": "channel_scales",
    "signal": "signal_by_depth",
    "similarity": "layer_similarity",
    "slopes": "layer_slopes",
}


@pytest.mark.parametrize(("former", "name"), sorted(FORMER.items()))
def test_a_former_name_is_an_alias_and_the_warning_names_the_new_one(former, name):
    with pytest.warns(DeprecationWarning, match=rf"`keras_prelu\.diagnostics\.{name}`"):
        assert getattr(diagnostics, former) is getattr(diagnostics, name)
    assert former not in diagnostics.__all__


@pytest.mark.parametrize("module", ["signal", "similarity", "slopes", "embeddings"])
def test_a_module_with_a_former_name_is_imported_as_any_other(module):
    name = f"keras_prelu.diagnostics.{module}"
    assert importlib.import_module(name) is sys.modules[name]
    with pytest.warns(DeprecationWarning, match="removed in version 0"):
        assert callable(getattr(diagnostics, module))


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="has no attribute 'units'"):
        diagnostics.units  # noqa: B018
