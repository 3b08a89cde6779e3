"""The configuration of StyleGAN2."""

import dataclasses
from typing import Any, ClassVar, Literal

import flax.linen
import jax
import jax.numpy as jnp
import optax

from jaxgan import recipes
from jaxgan.config.augmented import AugmentedConfig
from jaxgan.config.played import PlayedConfig
from jaxgan.config.sampled import SampledConfig
from jaxgan.errors import InputError
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.transforms import lazy_adam
from jaxgan.typing import GAN


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2Config(AugmentedConfig, PlayedConfig, SampledConfig):
    """StyleGAN2 with adaptive augmentation: `jaxgan.recipes.stylegan2`."""

    recipe: ClassVar[str] = "stylegan2"

    data: str = "mnist"
    """Data set: the name of a tfds image data set, or a folder of images."""
    batch: int = 32
    """Images of one update, on all devices together."""
    conditional: bool = False
    """Learn the labels of the data, and generate what they say."""
    channel_base: int = 32_768
    """A layer at r pixels a side has channel_base / r channels,"""
    channel_max: int = 512
    """and at most so many. The defaults are the paper's configuration F."""
    latent_dim: int = 512
    """Dimensions of the latents."""
    w_dim: int = 512
    """Dimensions of the styles."""
    mapping_layers: int = 8
    """Layers of the mapping network."""
    residual: bool = True
    """The discriminator's blocks have a path past their convolutions."""
    group: int = 4
    """Images of a group of the minibatch standard deviation; they divide the batch."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the computation at the highest resolutions; all else is float32."""
    half_resolutions: int = 4
    """How many resolutions that are."""
    r1: float = 10.0
    """Gamma of the penalty on the discriminator's gradient."""
    r1_every: int = 16
    """Steps from one such penalty to the next."""
    path_length: float = 2.0
    """Weight of path length regularisation; 0 leaves it out."""
    path_every: int = 4
    """Steps from one to the next."""
    mixing: float = 0.9
    """Share of images with two styles."""
    g_lr: float = 2e-3
    """Learning rate of the generator."""
    d_lr: float = 2e-3
    """Learning rate of the discriminator."""
    half_life: float = 10_000.0
    """Of the averaged generator, in images."""
    ramp: float | None = 0.05
    """The half-life is at most this share of the images so far."""

    def __post_init__(self):
        super().__post_init__()
        integers = "channel_base channel_max latent_dim w_dim mapping_layers group r1_every path_every"
        for name in integers.split():
            self._at_least(name, 1)
        for name in ("half_resolutions", "r1", "path_length", "mixing", "half_life"):
            self._at_least(name, 0)
        for name in ("g_lr", "d_lr"):
            self._at_least(name, 0, above=True)
        if not isinstance(self.mixing, jax.Array) and self.mixing > 1:  # a sweep's were checked before
            raise InputError(f"mixing is {self.mixing}, a share of the images; it must lie between 0 and 1.")
        if self.ramp is not None:
            self._at_least("ramp", 0, above=True)
        if self.batch % self.group:
            raise InputError(
                f"The minibatch standard deviation takes groups of {self.group} images, which do not divide the batch, "
                f"{self.batch}. Set --group or --batch."
            )

    @property
    def labelled(self) -> bool:
        return self.conditional

    def networks(
        self, shape: Any, classes: int | None, axis_name: str | None = None
    ) -> tuple[StyleGenerator, StyleDiscriminator]:
        """Both networks, for images of this shape."""
        if self.conditional and classes is None:
            raise InputError(f"conditional is set, but the data {self.data!r} has no labels. Take a labelled data set.")
        options: dict[str, Any] = {
            "channel_base": self.channel_base,
            "channel_max": self.channel_max,
            "classes": classes if self.conditional else None,
            "mapping_layers": self.mapping_layers,
            "half_resolutions": self.half_resolutions,
            "dtype": jnp.dtype(self.dtype),
            "axis_name": axis_name,
        }
        generator = StyleGenerator(shape, latent_dim=self.latent_dim, w_dim=self.w_dim, **options)
        return generator, StyleDiscriminator(group=self.group, residual=self.residual, **options)

    def generators(self, shape: Any, classes: int | None) -> dict[str, flax.linen.Module]:
        return {"generator": self.networks(shape, classes)[0]}

    def build(self, shape: Any, classes: int | None, axis_name: str | None = None) -> GAN:
        generator, discriminator = self.networks(shape, classes, axis_name)
        return recipes.stylegan2(
            generator,
            discriminator,
            r1=self.r1,
            r1_every=self.r1_every,
            path_length=self.path_length,
            path_every=self.path_every,
            mixing=self.mixing,
            g_tx=self._optimizer(self.g_lr, self.path_every, self.path_length),
            d_tx=self._optimizer(self.d_lr, self.r1_every, self.r1),
            half_life=self.half_life,
            ramp=self.ramp,
            axis_name=axis_name,
            **self.augmentation(axis_name),
            **self.playing(),
        )

    def _optimizer(self, rate: float, interval: int, weight: float) -> optax.GradientTransformation:
        """Adam, corrected for a regulariser that is not left out."""
        if isinstance(weight, jax.Array) or weight > 0:
            return lazy_adam(rate, 0.0, 0.99, interval=interval)
        return optax.adam(rate, 0.0, 0.99)
