"""The configuration of GANs and Wasserstein GANs."""

import dataclasses
from typing import ClassVar, Literal

import flax.linen
import jax
import jax.numpy as jnp
import optax

from jaxgan import nn, objectives, recipes
from jaxgan.config.adversarial import check_decays, make_objective
from jaxgan.config.augmented import AugmentedConfig
from jaxgan.config.played import PlayedConfig
from jaxgan.config.sampled import SampledConfig
from jaxgan.errors import InputError
from jaxgan.transforms import lazy_adam
from jaxgan.typing import GAN

# Units of a layer; one of more takes gigabytes.
_WIDEST = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANConfig(AugmentedConfig, PlayedConfig, SampledConfig):
    """A GAN or Wasserstein GAN: `jaxgan.recipes.gan`."""

    recipe: ClassVar[str] = "gan"
    free: ClassVar[frozenset[str]] = SampledConfig.free | {"remat"}

    microbatches: int = 1
    """An update takes its batch in so many parts, one after the other, to save memory."""
    remat: bool = False
    """Compute layers anew in the backward pass instead of keeping what it needs: less memory, more time."""
    network: Literal["dcgan", "resnet", "mlp"] = "dcgan"
    """dcgan (images of 8 to 128 pixels), resnet (32, 48, 64 or 128 pixels) or mlp (points and small images)."""
    width: int | None = 64
    """Channels of a DCGAN's widest-resolution layer or of a ResNet's blocks (None: the papers'), units of an MLP."""
    d_width: int | None = None
    """The same of the discriminator; by default the generator's."""
    depth: int = 3
    """Hidden layers of an MLP; a DCGAN's depth follows from the image size."""
    latent_dim: int = 100
    """Dimensions of the latents."""
    d_norm: bool = True
    """Batch normalisation in a DCGAN's discriminator."""
    spectral: bool = True
    """Spectral normalisation in a ResNet's discriminator, with features summed over the image as in SNGAN; without it
    they are averaged as in WGAN-GP."""
    attention: int | None = None
    """Resolution, in pixels, at which a ResNet has self-attention."""
    hierarchical: bool = False
    """A ResNet's latents enter every block, not the first alone (BigGAN)."""
    conditioning: Literal["none", "concat", "projection", "acgan"] = "none"
    """How labels enter: joined to latents and images (CGAN), by conditional batch norm and a projection discriminator,
    or by conditional batch norm and an auxiliary classifier (AC-GAN)."""
    embed: int | None = None
    """Dimensions of the labels' learned embedding where they are joined, and of the one that a ResNet's blocks share;
    by default labels are one-hot."""
    uniform_labels: bool = False
    """Ask the generator for every class equally often; by default as often as the data holds it."""
    classifier_weight: float = 1.0
    """Of the classifier's loss in an AC-GAN's generator."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' computation; parameters, losses and logits are float32."""
    objective: str = "non_saturating"
    """Adversarial objective: minimax, non_saturating, least_squares, hinge, wasserstein, wgan_gp, dragan, gan_r1,
    relativistic, relativistic_average or r3gan."""
    clip: float | None = None
    """Largest absolute weight of a Wasserstein critic; by default the objective's."""
    penalty: float | None = None
    """Weight (lambda or gamma) of the objective's gradient penalty; by default the objective's."""
    penalty_every: int = 1
    """Steps between gradient penalties (lazy regularisation); Adam is corrected for the updates that they add."""
    packing: int = 1
    """Images that the discriminator sees at a time (PacGAN)."""
    mode_seeking: float = 0.0
    """Weight of mode-seeking regularisation of the generator (Mao et al. 2019)."""
    minibatch_kernels: int | None = None
    """Kernels of minibatch discrimination (Salimans et al. 2016) in an MLP's or DCGAN's discriminator; by default it
    has none."""
    d_steps: int = 1
    """Discriminator updates for each generator update."""
    warmup: bool = False
    """100 discriminator updates on the first 25 steps and every 500th."""
    rule: Literal["alternating", "simultaneous", "extragradient", "consensus", "symplectic", "unrolled"] = "alternating"
    """How the players move: one after the other or both from one state, each along its own gradient, or by a rule of
    `jaxgan.games`."""
    optimizer: Literal["adam", "rmsprop", "sgd", "optimistic_adam"] = "adam"
    """Of both players. Optimistic Adam goes on along the change of its step (Daskalakis et al. 2018)."""
    g_lr: float = 2e-4
    """Learning rate of the generator."""
    d_lr: float = 2e-4
    """Learning rate of the discriminator."""
    decay_steps: int | None = None
    """The learning rates fall linearly to 0 over so many generator updates; by default they stay."""
    b1: float = 0.5
    """Adam's decay of the mean gradient, or the momentum of sgd; negative momentum (Gidel et al. 2019) is below 0."""
    b2: float = 0.999
    """Adam's decay of the mean squared gradient."""
    half_life: float = 10_000.0
    """Of the averaged generator, in images."""

    def __post_init__(self):
        super().__post_init__()
        self._objective()
        self._at_least("microbatches", 1)
        if self.batch % self.microbatches:
            raise InputError(f"microbatches is {self.microbatches}; it must divide the batch, {self.batch}.")
        if self.remat and self.network == "mlp":
            raise InputError("remat is of convolutional networks; an mlp keeps so little that it has none.")
        if self.network != "resnet" and (self.attention or self.hierarchical):
            raise InputError("attention and hierarchical are of ResNets; set --network resnet, or leave them out.")
        if self.network == "resnet" and self.minibatch_kernels is not None:
            raise InputError("minibatch_kernels are of an MLP's or DCGAN's discriminator; leave them out.")
        if self.packing > 1 and (self.batch // self.microbatches) % self.packing:
            raise InputError(
                f"packing is {self.packing}; it must divide the images of an update, {self.batch // self.microbatches}."
            )
        if self.packing > 1 and self.conditioning == "acgan":
            raise InputError(
                f"packing is {self.packing}, and a pack is of no one class that an auxiliary classifier could name. "
                "Set --conditioning concat or projection, or --packing 1."
            )
        if self.width is None and self.network != "resnet":
            raise InputError(f"width is None; a network {self.network!r} needs a number.")
        positive = "width d_width depth latent_dim d_steps penalty_every embed decay_steps packing minibatch_kernels"
        for name in positive.split():
            if getattr(self, name) is not None:
                self._at_least(name, 1)
        for name in ("width", "d_width", "latent_dim", "embed", "minibatch_kernels"):
            if (getattr(self, name) or 0) > _WIDEST:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at most {_WIDEST}.")
        if self.embed is not None and self.conditioning == "none":
            raise InputError(f"embed is {self.embed}, of labels. Set --conditioning as well, or leave it out.")
        check_decays(b2=self.b2)
        self._check_optimizer()
        for name in ("g_lr", "d_lr"):
            self._at_least(name, 0, above=True)
        for name in ("half_life", "classifier_weight", "mode_seeking"):
            self._at_least(name, 0)

    @property
    def smallest_batch(self) -> int:
        return self.batch // self.microbatches

    @property
    def labelled(self) -> bool:
        return self.conditioning != "none"

    def build(self, shape: tuple[int, ...], classes: int | None, axis_name: str | None = None) -> GAN:
        conditional = self.labelled
        if conditional and classes is None:
            raise InputError(
                f"conditioning is {self.conditioning!r}, but the data {self.data!r} has no labels. Take a labelled "
                "data set, or set --conditioning none."
            )
        if self.uniform_labels and not conditional:
            raise InputError("uniform_labels is of conditional GANs. Set --conditioning as well, or leave it out.")
        generator, discriminator = self._networks(shape, classes if conditional else None, axis_name)
        d_updates = self.d_steps * (1 + 1 / self.penalty_every if self.penalty_every > 1 else 1)
        return recipes.gan(
            generator,
            discriminator,
            latent_dim=self.latent_dim,
            objective=self._objective(axis_name),
            g_tx=self._optimizer(self.g_lr),
            d_tx=self._optimizer(self.d_lr, self.penalty_every, d_updates),
            d_steps=self.d_steps,
            simultaneous=self.rule == "simultaneous",
            warmup=recipes.Warmup() if self.warmup else None,
            penalty_every=self.penalty_every,
            packing=self.packing,
            mode_seeking=self.mode_seeking,
            half_life=self.half_life,
            microbatches=self.microbatches,
            conditions=("label",) if conditional else (),
            fake_conditions=recipes.uniform_labels(classes, axis_name) if classes and self.uniform_labels else None,
            classifier_weight_g=self.classifier_weight,
            classes=classes if conditional and self.packing == 1 else None,
            axis_name=axis_name,
            **self.augmentation(axis_name),
            **self.playing(),
        )

    def generators(self, shape: tuple[int, ...], classes: int | None) -> dict[str, flax.linen.Module]:
        return {"generator": self._networks(shape, classes if self.labelled else None, None)[0]}

    def _check_optimizer(self) -> None:
        lazy = self.penalty_every > 1
        if lazy and self.optimizer == "optimistic_adam":
            raise InputError(
                f"optimistic_adam goes on along the change from one gradient to the next; with penalty_every = "
                f"{self.penalty_every} every other may be of another loss. Set --penalty-every 1, or take adam."
            )
        if isinstance(self.b1, jax.Array):  # a sweep's were checked before
            return
        if not -1 < self.b1 < 1:
            raise InputError(f"b1 is {self.b1}; it must lie above -1 and below 1.")
        if self.b1 < 0 and lazy:
            raise InputError(
                f"b1 is {self.b1}, which the correction of Adam for penalty_every = {self.penalty_every} raises to a "
                "power that is no whole number. Set --penalty-every 1, or a b1 of at least 0."
            )

    def _objective(self, axis_name: str | None = None) -> objectives.Objective:
        return make_objective(self.objective, self.clip, self.penalty, axis_name)

    def _optimizer(self, learning_rate: float, interval: int = 1, updates: float = 1) -> optax.GradientTransformation:
        rate = learning_rate
        if self.decay_steps is not None:
            rate = optax.linear_schedule(learning_rate, 0.0, round(self.decay_steps * updates))
        if self.optimizer == "rmsprop":
            return recipes.rmsprop(rate)
        if self.optimizer == "sgd":
            return optax.sgd(rate, self.b1)
        if self.optimizer == "optimistic_adam":
            return optax.optimistic_adam_v2(rate, b1=self.b1, b2=self.b2, nesterov=False)
        if interval > 1:
            return lazy_adam(rate, self.b1, self.b2, interval=interval)
        return optax.adam(rate, self.b1, self.b2)

    def _networks(self, shape: tuple[int, ...], classes: int | None, axis_name: str | None):
        dtype = jnp.dtype(self.dtype)
        concat = classes if self.conditioning == "concat" else None  # each way in has its own number of classes
        projection = classes if self.conditioning == "projection" else None
        classifier = classes if self.conditioning == "acgan" else None
        inside = projection or classifier
        d_width = self.d_width or self.width
        if self.network == "mlp":
            assert self.width and d_width
            output = jnp.tanh if len(shape) == 3 else None
            generator = nn.MLPGenerator(shape, self.width, self.depth, output, dtype)
            discriminator = nn.MLPDiscriminator(
                d_width, self.depth, dtype, projection, classifier, self.minibatch_kernels, axis_name
            )
            concat, inside = classes, None  # without batch norm the labels can only join the latents
        elif self.network == "dcgan":
            nn.doublings(_image(shape))  # says what sizes there are before anything is compiled
            assert self.width and d_width
            generator = nn.DCGANGenerator(_image(shape), self.width, dtype, axis_name, self.remat, inside)
            discriminator = nn.DCGANDiscriminator(
                d_width, self.d_norm, dtype, axis_name, self.remat, projection, classifier, self.minibatch_kernels
            )
        else:
            generator = nn.ResNetGenerator(
                _image(shape), self.width, inside, self.embed if inside else None, self.hierarchical, self.attention,
                dtype=dtype, axis_name=axis_name, remat=self.remat,
            )  # fmt: skip
            discriminator = nn.ResNetDiscriminator(
                d_width, projection, classifier, self.attention, self.spectral, not self.spectral, dtype, self.remat
            )
        if concat:
            generator = nn.ConcatGenerator(generator, concat, self.embed)
        if self.conditioning == "concat":
            discriminator = nn.ConcatDiscriminator(discriminator, concat, self.embed)
        return generator, discriminator


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise InputError(f"The data has shape {shape}; a convolutional network makes images. Set --network mlp.")
    height, width, channels = shape
    return height, width, channels
