"""The configuration of CycleGAN and pix2pix."""

import dataclasses
from typing import Any, ClassVar, Literal

import flax.linen
import jax.numpy as jnp
import optax

from jaxgan import data as datasets
from jaxgan import objectives
from jaxgan.config.adversarial import check_decays, make_objective
from jaxgan.config.augmented import AugmentedConfig
from jaxgan.config.base import View
from jaxgan.config.evaluated import EvaluatedConfig
from jaxgan.data.sources import check_size
from jaxgan.errors import InputError
from jaxgan.nn.cyclegan import PatchDiscriminator, ResnetGenerator, UNetGenerator
from jaxgan.recipes.cyclegan import constant_then_linear, cyclegan
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGANConfig(AugmentedConfig, EvaluatedConfig):
    """Translation between two domains: `jaxgan.recipes.cyclegan`."""

    recipe: ClassVar[str] = "cyclegan"
    use: ClassVar[str] = "translate {run} IMAGES --direction ab --out DIR"

    data: str = "facades"
    """A tfds data set with splits trainA, trainB, testA and testB, or a folder with folders of these names."""
    a: str | None = None
    """Folder of images of domain a, instead of a data set."""
    b: str | None = None
    """Folder of images of domain b."""
    image_size: int = 256
    """Side of the square crops in pixels, a multiple of 4."""
    load_size: int | None = None
    """Every image is resized to so many pixels before it is cropped; by default 286 for crops of 256 and so on."""
    flip: bool = True
    """Mirror every other crop."""
    batch: int = 1
    """Images of each domain in an update, on all devices together."""
    samples: int = 8
    """Images of each domain in a picture."""
    generator: Literal["resnet", "unet"] = "resnet"
    """resnet, or unet as in pix2pix."""
    width: int = 64
    """Channels of the generators' first layer."""
    blocks: int | None = None
    """Residual blocks of a resnet; by default 9 for images of at least 256 pixels, else 6."""
    depth: int | None = None
    """How often a unet halves an image; by default to a pixel, or as often as it can be halved."""
    d_width: int = 64
    """Channels of the discriminators' first layer."""
    layers: int = 3
    """Strided convolutions of the discriminators: 3 judge patches of 70 pixels, 2 of 34, 1 of 16, 0 single pixels."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' computation; parameters, losses and logits are float32."""
    objective: str = "least_squares"
    """Adversarial objective: minimax, non_saturating, least_squares, hinge, wasserstein, wgan_gp, dragan, gan_r1,
    relativistic, relativistic_average or r3gan."""
    penalty: float | None = None
    """Weight of the objective's gradient penalty; by default the objective's."""
    cycle: float = 10.0
    """Weight of the cycle consistency."""
    identity: float = 0.5
    """Weight of the identity loss, as a share of the cycle consistency's."""
    paired: float = 0.0
    """Weight of the distance to an image's partner (pix2pix: 100); above 0 batches are pairs."""
    conditional: bool = False
    """The discriminators see what was translated as well, as in pix2pix."""
    pool: int = 50
    """Earlier fakes that the discriminators are shown again; 0: none."""
    g_lr: float = 2e-4
    """Learning rate of the generators."""
    d_lr: float = 2e-4
    """Learning rate of the discriminators."""
    b1: float = 0.5
    """Adam's decay of the mean gradient."""
    constant_steps: int = 0
    """Before the learning rates fall, if decay_steps is given."""
    decay_steps: int | None = None
    """The learning rates fall linearly to 0 over so many steps; by default they stay."""
    half_life: float = 0.0
    """Of the averaged generators, in images; 0, as in the paper, takes the last ones."""

    def __post_init__(self):
        super().__post_init__()
        make_objective(self.objective, None, self.penalty, None)
        if self.eval_every is not None and not self.diagnostics:
            raise InputError(
                f"eval_every is {self.eval_every}, but a translation has no samples to measure while it trains: its "
                "evaluations are diagnostics. Set --diagnostics as well, or leave it out."
            )
        check_size(self.image_size)
        if self.image_size % 4:
            near = " or ".join(str(n) for n in (self.image_size // 4 * 4, self.image_size // 4 * 4 + 4) if n)
            raise InputError(f"image_size is {self.image_size}; it must be a multiple of 4, for example {near}.")
        for name in ("width", "d_width", "blocks", "depth", "decay_steps", "load_size"):
            if getattr(self, name) is not None:
                self._at_least(name, 1)
        for name in ("layers", "cycle", "identity", "paired", "half_life", "pool", "constant_steps"):
            self._at_least(name, 0)
        check_decays(b1=self.b1)
        for name in ("g_lr", "d_lr"):
            self._at_least(name, 0, above=True)
        if self.conditional and not self._paired:
            raise InputError(
                "conditional shows the discriminators pairs, and the batches have none. Set --paired, for example to "
                "100, and take paired data."
            )

        if self.conditional and self.augment != "none":
            raise InputError(
                "Augmentations change images, and conditional shows the discriminators two in one. Set --augment none."
            )

    def load(self) -> datasets.Domains:
        return datasets.domains(
            self.data,
            a=self.a,
            b=self.b,
            data_dir=self.data_dir,
            size=self.image_size,
            load_size=self.load_size,
            flip=self.flip,
            paired=self._paired,
        )

    def build(self, shape: Any, classes: int | None, axis_name: str | None = None) -> GAN:
        del classes
        if not isinstance(shape, dict):
            raise InputError(f"A translation needs two domains; the data is one set of images of shape {shape}.")
        shape_a, shape_b = (tuple(shape[side]) for side in "ab")
        discriminator = PatchDiscriminator(self.d_width, self.layers, jnp.dtype(self.dtype))
        generators = self.generators(shape, None)
        return cyclegan(
            generators["ab"],
            generators["ba"],
            discriminator,
            discriminator,
            shape_a,
            shape_b,
            objective=self._objective(axis_name),
            cycle=self.cycle,
            identity=self.identity,
            paired=self.paired,
            conditional=self.conditional,
            pool=self.pool,
            g_tx=self._optimizer(self.g_lr),
            d_tx=self._optimizer(self.d_lr),
            half_life=self.half_life,
            axis_name=axis_name,
            **self.augmentation(axis_name),
        )

    def generators(self, shape: Any, classes: int | None) -> dict[str, flax.linen.Module]:
        del classes
        return {"ab": self._generator(shape["b"][2]), "ba": self._generator(shape["a"][2])}

    def view(self, source: datasets.AnySource, feed: datasets.Feed) -> View:
        """Rows of six: an image of a, its translation, and that back again; the same of b."""
        del source
        real = feed.peek(self.samples)

        def draw(gan: GAN, state: TrainState, key: Key) -> Array:
            def translate(**images: Array) -> Array:
                (x,) = images.values()
                return gan.sample(state, key, len(x), **images)

            into_b, into_a = translate(a=real["a"]), translate(b=real["b"])
            return _rows(real["a"], into_b, translate(b=into_b), real["b"], into_a, translate(a=into_a))

        return View(_rows(real["a"], real["b"]), draw, 6)

    @property
    def multiple(self) -> int:
        """What the sides of images must be a multiple of."""
        return 4 if self.generator == "resnet" else 1 << self._depth

    @property
    def _depth(self) -> int:
        return self.depth or (self.image_size & -self.image_size).bit_length() - 1  # as often as 2 divides it

    @property
    def _paired(self) -> bool:
        return not isinstance(self.paired, float | int) or self.paired > 0

    def _objective(self, axis_name: str | None) -> objectives.Objective:
        return make_objective(self.objective, None, self.penalty, axis_name)

    def _optimizer(self, rate: float) -> optax.GradientTransformation:
        if self.decay_steps is None:
            return optax.adam(rate, self.b1)
        steps = self.constant_steps + self.decay_steps
        return optax.adam(constant_then_linear(rate, steps, self.constant_steps), self.b1)

    def _generator(self, channels: int) -> flax.linen.Module:
        dtype = jnp.dtype(self.dtype)
        if self.generator == "unet":
            return UNetGenerator(channels, self.width, self._depth, dtype)
        blocks = self.blocks or (9 if self.image_size >= 256 else 6)
        return ResnetGenerator(channels, self.width, blocks, dtype)


def _rows(*columns: Array) -> Array:
    """Columns of n images each, row by row: f32[n * columns, H, W, C]; grey becomes coloured beside colours."""
    channels = max(x.shape[-1] for x in columns)
    stacked = jnp.stack([jnp.broadcast_to(x, (*x.shape[:-1], channels)) for x in columns], axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])
