"""The configuration of R3GAN."""

import dataclasses
from typing import Any, ClassVar, Literal

import flax.linen
import jax
import jax.numpy as jnp

from jaxgan import recipes
from jaxgan.config.adversarial import check_decays
from jaxgan.config.sampled import SampledConfig
from jaxgan.errors import InputError
from jaxgan.nn.r3gan import R3Discriminator, R3Generator
from jaxgan.typing import GAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GANConfig(SampledConfig):
    """R3GAN: `jaxgan.recipes.r3gan`. The defaults are the paper's for CIFAR-10, but for the batch, which is 512 there.

    Fields that end in ``_end`` are the values after the burn-in, which begins with those of the same name without.
    """

    recipe: ClassVar[str] = "r3gan"

    data: str = "mnist"
    """Data set: the name of a tfds image data set, or a folder of images."""
    conditional: bool = False
    """Learn the labels of the data, and generate what they say."""
    microbatches: int = 1
    """An update takes its batch in so many parts, one after the other, to save memory."""
    channel_base: int = 24_576
    """At r pixels a side there are channel_base / r channels,"""
    channel_max: int = 768
    """and at most so many."""
    blocks: int = 2
    """Residual blocks at each resolution."""
    group: int = 16
    """Channels of a group of the grouped convolutions."""
    latent_dim: int = 64
    """Dimensions of the latents, and of the labels' embedding."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation above the lowest resolution; all else is float32."""
    burn_in: float = 20e6
    """Images over which the values below change, by half a wave of a cosine."""
    gamma: float = 0.05
    """Weight of both gradient penalties at the start;"""
    gamma_end: float = 0.005
    """and after the burn-in."""
    lr: float = 2e-4
    """Learning rate of both players at the start;"""
    lr_end: float = 5e-5
    """and after the burn-in."""
    b2: float = 0.9
    """Adam's decay of the mean squared gradient at the start;"""
    b2_end: float = 0.99
    """and after the burn-in."""
    half_life: float = 5e6
    """Of the averaged generator after the burn-in, in images; it grows from 0."""
    augment: float = 0.0
    """The probability of augmentation after the burn-in; it grows from 0. 0 leaves augmentation out."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("microbatches", "channel_base", "channel_max", "blocks", "group", "latent_dim"):
            self._at_least(name, 1)
        for name in ("gamma", "gamma_end", "half_life"):
            self._at_least(name, 0)
        for name in ("burn_in", "lr", "lr_end"):
            self._at_least(name, 0, above=True)
        check_decays(b2=self.b2, b2_end=self.b2_end)
        if not isinstance(self.augment, jax.Array) and not 0 <= self.augment <= 1:  # a sweep's were checked before
            raise InputError(f"augment is {self.augment}, a probability; it must lie between 0 and 1.")
        if self.batch % self.microbatches:
            raise InputError(f"microbatches is {self.microbatches}; it must divide the batch, {self.batch}.")

    @property
    def smallest_batch(self) -> int:
        return self.batch // self.microbatches

    @property
    def labelled(self) -> bool:
        return self.conditional

    def generators(self, shape: Any, classes: int | None) -> dict[str, flax.linen.Module]:
        return {"generator": R3Generator(shape, embed=self.latent_dim, **self._options(classes))}

    def build(self, shape: Any, classes: int | None, axis_name: str | None = None) -> GAN:
        if self.conditional and classes is None:
            raise InputError(f"conditional is set, but the data {self.data!r} has no labels. Take a labelled data set.")
        augmented = isinstance(self.augment, jax.Array) or self.augment > 0

        def change(start: float, end: float):
            return recipes.burn_in(start, end, self.burn_in)

        return recipes.r3gan(
            self.generators(shape, classes)["generator"],
            R3Discriminator(**self._options(classes)),
            latent_dim=self.latent_dim,
            gamma=change(self.gamma, self.gamma_end),
            learning_rate=change(self.lr, self.lr_end),
            b2=change(self.b2, self.b2_end),
            half_life=change(0.0, self.half_life),
            augment=recipes.r3gan_augment(axis_name) if augmented else None,
            augment_p=change(0.0, self.augment),
            microbatches=self.microbatches,
            conditions=("label",) if self.conditional else (),
            axis_name=axis_name,
        )

    def _options(self, classes: int | None) -> dict[str, Any]:
        """What both networks take."""
        return {
            "channel_base": self.channel_base,
            "channel_max": self.channel_max,
            "blocks": self.blocks,
            "group": self.group,
            "classes": classes if self.conditional else None,
            "dtype": jnp.dtype(self.dtype),
        }
