"""keras_prelu.training.verdict: what is said of a fine-tuned model beside its controls."""

import numpy as np
import pytest

from keras_prelu.diagnostics.comparison import compare_scores
from keras_prelu.training.verdict import _sentences


@pytest.mark.parametrize(
    ("gain", "start"),
    [
        (0.0, "PReLU is as good as one and three: loss 0."),
        (0.2, "PReLU is better than one and three: loss 0."),
    ],
)
def test_controls_that_scored_the_same_are_told_in_one_sentence(gain, start):
    losses = np.random.default_rng(0).uniform(size=400)
    same, other = (compare_scores("loss", losses - gain, b) for b in (losses, losses + 0.5))
    first, second = _sentences("PReLU", [(same, "one"), (other, "two"), (same, "three")])
    assert first.startswith(start)
    assert second == other.sentence("PReLU", "two")


def test_controls_that_can_not_be_told_from_a_model():
    losses = np.random.default_rng(0).uniform(size=20)
    same = compare_scores("loss", losses, losses)
    (sentence,) = _sentences("PReLU", [(same, "one"), (same, "two")])
    assert sentence.startswith("Can't tell PReLU from one or from two with this much data")
