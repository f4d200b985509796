"""The sites that the recipes of a fine-tuning convert."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from keras_prelu.errors import InvalidArgumentError
from keras_prelu.sites.finder import locate_sites
from keras_prelu.sites.selection import Selector, select

__all__ = ["ChosenSites"]


@dataclass(frozen=True)
class ChosenSites:
    """What users choose among the sites of a ReLU model, as in `convert`.

    Attributes:
        include: `Selector`. Defaults to None, all convertible sites except those on request.
        exclude: `Selector`. Defaults to None, no site.
    """

    include: Selector = None
    exclude: Selector = None

    @property
    def are_given(self) -> bool:
        return self.include is not None or self.exclude is not None

    def check(self, model: keras.Model, *, by_recipe: bool) -> None:
        """Check the choice before anything is trained.

        Args:
            model: Keras model. The model that is fine-tuned.
            by_recipe: Bool. Whether a recipe converts it.

        Raises:
            InvalidArgumentError: A ValueError; the model is converted already, a selector matches
                no site, or a site is smooth: recipes start at slopes that do not fit those.
            ConversionError: No site is left.
        """
        if not self.are_given:
            return
        if not by_recipe:
            raise InvalidArgumentError(
                "`include` and `exclude` say which sites a recipe converts, and this model is"
                " trained as it is. Give them to `convert`, or leave them out."
            )
        for located in select(locate_sites(model), model, self.include, self.exclude):
            if located.site.is_smooth:
                raise InvalidArgumentError(
                    f"Site '{located.site.path}' is smooth, and slopes have to be fitted to it"
                    " first: convert(model, include=…, calibration_data=…), and then finetune(…,"
                    " original=model); on the command line, finetune --activations smooth."
                )
