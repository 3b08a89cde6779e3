"""What the configurations have in common whose discriminator may see augmented images."""

import dataclasses
from typing import Any, Literal

from jaxgan import augment
from jaxgan.config.base import Config

_MAKERS = {"ada": augment.ada, "diff": augment.diff_augment}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedConfig(Config):
    """A recipe that takes ``augment``, ``target`` and ``images_to_one``."""

    augment: Literal["none", "ada", "diff"] = "none"
    """What the discriminator sees: images as they are, adaptively augmented, or by DiffAugment."""
    target: float = 0.6
    """Mean sign of the logits of real images that adaptive augmentation aims at."""
    images_to_one: float = 500_000.0
    """The fewest images in which its probability gets from 0 to 1."""

    def __post_init__(self):
        super().__post_init__()
        self._at_least("images_to_one", 0, above=True)

    def augmentation(self, axis_name: str | None) -> dict[str, Any]:
        """Those arguments of the recipe."""
        return {
            "augment": None if self.augment == "none" else _MAKERS[self.augment](axis_name=axis_name),
            "target": self.target if self.augment == "ada" else None,
            "images_to_one": self.images_to_one,
        }
