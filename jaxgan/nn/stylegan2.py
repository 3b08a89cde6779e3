"""Networks of StyleGAN2, for square images of 8 to 1024 pixels.

Karras et al. 2020, https://arxiv.org/abs/1912.04958 (configuration F), with the conditioning and the half precision of
Karras et al. 2020, https://arxiv.org/abs/2006.06676. One shared convolution serves the whole batch: what differs from
image to image are scales before and after it, so that there is no grouped convolution anywhere.
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.nn.conditional import check_labels, encode
from jaxgan.nn.conv import conv, conv_transpose
from jaxgan.nn.minibatch import MinibatchStd
from jaxgan.nn.resample import BINOMIAL, downsample2, upfirdn, upsample2
from jaxgan.nn.sums import spread
from jaxgan.typing import Array, Key

_NORMAL = nn.initializers.normal(1.0)
_KEEP = 0.998  # of the mean style at each update
_CLAMP = 256.0  # half precision: activations are cut here, which float32's never reach


def modulated_conv(x: Array, kernel: Array, style: Array, *, demodulate: bool = True, up: bool = False) -> Array:
    """Convolution with a kernel that a style scales for each image (Karras et al. 2020, equations 1 and 3).

    The kernel of image b is ``w_b = style[b, c] * kernel[:, :, c, d]``, and demodulation divides it by
    ``sqrt(sum_abc w_b^2 + 1e-8)`` for each d: outputs have variance 1 where inputs have. The scales are taken out of
    the convolution, which is linear: inputs are scaled by the style, outputs by the demodulation.

    Args:
      x: f[B, H, W, C]; its dtype is that of the computation.
      kernel: f32[K, K, C, D], K odd; with ``up`` at least 3.
      style: f32[B, C].
      demodulate: whether to. In half precision, kernel and style are then also brought to the range where sums do not
        overflow; demodulation takes that out again.
      up: doubles the image, by a transposed convolution of stride 2 and the filter [1, 3, 3, 1].

    Returns:
      f[B, H, W, D], or f[B, 2H, 2W, D], in the dtype of x.

    >>> modulated_conv(jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5)), jnp.ones((2, 3)), up=True).shape
    (2, 16, 16, 5)
    """
    if demodulate and x.dtype != jnp.float32:
        # Factors that demodulation divides by: constants, whose derivative cancels.
        fan_in = math.prod(kernel.shape[:-1])
        kernel = kernel / (math.sqrt(fan_in) * _largest(kernel, (0, 1, 2)))
        style = style / _largest(style, 1)
    scaled = x * spread(style.astype(x.dtype), x.shape)
    weight = kernel.astype(x.dtype)
    if up:
        out = upfirdn(conv_transpose(scaled, weight, padding=kernel.shape[0] // 2 - 1), 2 * BINOMIAL, pad=(1, 1))
    else:
        out = conv(scaled, weight, padding=kernel.shape[0] // 2)
    if not demodulate:
        return out
    squares = jnp.sum(jnp.square(kernel), (0, 1))
    power = jnp.matmul(jnp.square(style), squares, precision="highest")  # accelerators round to fewer bits by default
    return out * spread(jax.lax.rsqrt(power + 1e-8).astype(x.dtype), out.shape)


class StyleGenerator(nn.Module):
    """Latents to styles to images: StyleGAN2's mapping and synthesis networks.

    The three methods are used as ``generator.apply(variables, ..., method="map")``. Collections beside the parameters
    are ``"w_avg"``, the running mean of styles, which truncation draws to, and ``"noise"``, the constant noise images
    of samples that are made without a key.

    Attributes:
      shape: (H, W, C) of an image; H = W is a power of two, 8 to 1024.
      channel_base: a layer at r pixels a side has channel_base / r channels,
      channel_max: and at most so many. The defaults are the paper's configuration F.
      latent_dim: of the latents.
      w_dim: of the styles.
      mapping_layers: of the mapping network: 8 in the paper, 2 in ADA's configurations for small data sets.
      classes: of labels, whose normalised embedding the mapping network gets beside the latent; None: unconditional.
      half_resolutions: so many of the highest resolutions (never 4 pixels) compute in ``dtype``, with activations cut
        at +-256; the others in float32.
      dtype: of these; parameters, styles and images are float32.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which the mean style is shared and noise is drawn.

    >>> generator = StyleGenerator((32, 32, 1), channel_base=512, channel_max=64, mapping_layers=2)
    >>> variables = generator.init(jax.random.key(0), jnp.zeros((1, 512)), train=False)  # doctest: +SKIP
    >>> w = generator.apply(variables, z, method="map")  # doctest: +SKIP
    """

    shape: tuple[int, int, int]
    channel_base: int = 32_768
    channel_max: int = 512
    latent_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    classes: int | None = None
    half_resolutions: int = 4
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def setup(self) -> None:
        self.mapping = _Mapping(self.w_dim, self.mapping_layers, self.classes)
        plan = _Plan(_side(self.shape), self.channel_base, self.channel_max, self.half_resolutions, self.dtype)
        self.synthesis = _Synthesis(plan, self.shape[-1], self.axis_name)
        self.w_avg = self.variable("w_avg", "mean", jnp.zeros, (self.w_dim,))

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The pixels a side where each style enters: (4, 8, 8, 16, 16, ..., H, H, H).

        The last one is that of the last layer to colours; the other such layers share the style of the convolution
        that follows them. For images of 1024 pixels the StyleGAN papers call the styles up to 8 pixels coarse, up to
        32 middle, and the rest fine.
        """
        side = _side(self.shape)
        return tuple(min(4 << (k + 1) // 2, side) for k in range(2 * side.bit_length() - 4))

    @property
    def layers(self) -> int:
        """The number of styles of an image, 2 log2(H) - 2."""
        return len(self.resolutions)

    def map(self, z: Array, label: Array | None = None, *, train: bool = False) -> Array:
        """Latents to styles.

        Args:
          z: f32[B, latent_dim]; each is scaled to a mean square of 1.
          label: i32[B], or weights of the classes, f32[B, classes].
          train: moves the running mean of styles, where the collection ``"w_avg"`` is mutable.

        Returns:
          w, f32[B, w_dim].

        Raises:
          InputError: for latents of another size, and labels as `check_labels` says.
        """
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise InputError(
                f"The generator takes latents f32[B, {self.latent_dim}] and got {z.dtype}{list(z.shape)}. Draw such "
                "ones, or set its latent_dim."
            )
        w = self.mapping(z, label)
        if train and self.is_mutable_collection("w_avg") and not self.is_initializing():
            mean = axis.mean(jnp.mean(w, 0), self.axis_name)
            self.w_avg.value += (1 - _KEEP) * (mean - self.w_avg.value)
        return w

    def synthesise(self, ws: Array, key: Key | None = None) -> Array:
        """Styles to images.

        Args:
          ws: f32[B, layers, w_dim], a style for each layer; those of another latent from layer k on mix two images.
          key: draws noise for each image. None takes the constant noise that was made with the parameters.

        Returns:
          f32[B, H, W, C], trained towards [-1, 1] but not bounded.

        Raises:
          InputError: if the styles have another shape.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.layers, self.w_dim):
            raise InputError(
                f"The generator of {self.shape[0]} pixels takes styles f32[B, {self.layers}, {self.w_dim}] and got "
                f"{ws.dtype}{list(ws.shape)}. One style for all layers: jnp.repeat(w[:, None], {self.layers}, axis=1)."
            )
        return self.synthesis(ws, key)

    def __call__(self, z: Array, *, train: bool, label: Array | None = None, key: Key | None = None) -> Array:
        """f32[B, latent_dim], i32[B] -> f32[B, H, W, C]: `map`, one style for all layers, `synthesise`."""
        w = self.map(z, label, train=train)
        return self.synthesise(jnp.repeat(w[:, None], self.layers, axis=1), key)


class StyleDiscriminator(nn.Module):
    """Images to logits: StyleGAN2's discriminator.

    Attributes:
      channel_base: a layer at r pixels a side has channel_base / r channels,
      channel_max: and at most so many. The defaults are the paper's configuration F.
      classes: of labels: the logit is the inner product of the image's features and the mapped label (a projection
        discriminator, as ADA has it); None: unconditional.
      mapping_layers: of the label's mapping network.
      residual: whether blocks have a path past their convolutions; ADA's networks for CIFAR-10 have none.
      group: of the minibatch standard deviation, images that follow each other in the batch; None: all of them.
      half_resolutions: so many of the highest resolutions (never 4 pixels) compute in ``dtype``, with activations cut
        at +-256; the others in float32.
      dtype: of these; parameters and logits are float32.
      axis_name: the axis of ``pmap`` or ``shard_map``, which ``group=None`` needs.

    >>> discriminator = StyleDiscriminator(channel_base=512, channel_max=64)
    """

    channel_base: int = 32_768
    channel_max: int = 512
    classes: int | None = None
    mapping_layers: int = 8
    residual: bool = True
    group: int | None = 4
    half_resolutions: int = 4
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool, label: Array | None = None) -> Array:
        """f[B, H, W, C], i32[B] -> f32[B] logits; H = W is a power of two, 8 to 1024, and the group divides B."""
        del train  # no layer behaves differently in training
        check_labels(label, self.classes)
        plan = _Plan(_side(x.shape[1:]), self.channel_base, self.channel_max, self.half_resolutions, self.dtype)
        x = x.astype(plan.dtype(plan.side))
        x = _activate(EqualConv(plan.channels(plan.side), 1, name="from_rgb")(x))
        side = plan.side
        while side > 4:
            block = _DownBlock(plan.channels(side // 2), self.residual, name=f"block_{side}")
            x = block(x.astype(plan.dtype(side)))
            side //= 2
        x = MinibatchStd(self.group, self.axis_name)(x.astype(jnp.float32))
        features = plan.channels(4)
        x = _activate(EqualConv(features, 3, padding=1, name="conv")(x))
        x = _activate(EqualDense(features, name="dense")(x.reshape(len(x), -1)))
        if self.classes is None:
            return EqualDense(1, name="logit")(x)[:, 0]
        y = _Mapping(features, self.mapping_layers, self.classes, name="mapping")(None, label)
        return jnp.sum(EqualDense(features, name="logit")(x) * y, axis=-1) / math.sqrt(features)


class EqualDense(nn.Module):
    """Dense layer with an equalised learning rate (Karras et al. 2018, https://arxiv.org/abs/1710.10196, section 4.1).

    Kernels start from N(0, 1) and are scaled at run time, so that Adam moves all layers at one relative speed.

    Attributes:
      features: outputs.
      rate: the learning rate of this layer, relative to the optimiser's.
      bias: what biases start from.
    """

    features: int
    rate: float = 1.0
    bias: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f32[B, C] -> f32[B, features]."""
        kernel = self.param("kernel", nn.initializers.normal(1 / self.rate), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias / self.rate), (self.features,))
        return x @ (kernel * (self.rate / math.sqrt(x.shape[-1]))) + bias * self.rate


class EqualConv(nn.Module):
    """Convolution with an equalised learning rate, see `EqualDense`; it computes in the dtype of its input.

    Attributes:
      features: output channels.
      size: side of the kernel.
      stride: in both directions.
      padding: zeros on each side.
      use_bias: adds a bias, f32[features].
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f[B, H, W, C] -> f[B, H', W', features]."""
        kernel = self.param("kernel", _NORMAL, (self.size, self.size, x.shape[-1], self.features))
        kernel = kernel / math.sqrt(math.prod(kernel.shape[:-1]))
        x = conv(x, kernel.astype(x.dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            x += spread(self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype), x.shape)
        return x


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Channels and dtypes by resolution."""

    side: int
    base: int
    most: int
    half_resolutions: int
    half: Any

    def __post_init__(self) -> None:
        if self.base < self.side or self.most < 1 or self.half_resolutions < 0:
            raise InputError(
                f"For {self.side} pixels channel_base={self.base}, channel_max={self.most} and half_resolutions="
                f"{self.half_resolutions} do not do. Allowed: at least {self.side}, at least 1, and not negative."
            )

    def channels(self, side: int) -> int:
        return min(self.base // side, self.most)

    def dtype(self, side: int) -> Any:
        return self.half if side > max(4, self.side >> self.half_resolutions) else jnp.float32


class _Mapping(nn.Module):
    """Latents, labels or both to f32[B, features], by dense layers that learn 100 times slower."""

    features: int
    layers: int
    classes: int | None

    @nn.compact
    def __call__(self, z: Array | None, label: Array | None) -> Array:
        if self.layers < 1:
            raise InputError(f"A mapping network got mapping_layers={self.layers}; it has at least 1, the paper's 8.")
        parts = [] if z is None else [_normalise(z.astype(jnp.float32))]
        if (y := encode(label, self.classes)) is not None:
            parts.append(_normalise(EqualDense(self.features, name="embedding")(y)))
        x = jnp.concatenate(parts, axis=-1)
        for i in range(self.layers):
            x = _activate(EqualDense(self.features, rate=0.01, name=f"dense_{i}")(x))
        return x


class _Synthesis(nn.Module):
    """Styles to images, which every resolution adds its colours to."""

    plan: _Plan
    colours: int
    axis_name: str | None

    @nn.compact
    def __call__(self, ws: Array, key: Key | None) -> Array:
        b, layers, _ = ws.shape
        keys = [None] * (layers - 1) if key is None else jax.random.split(key, layers - 1)
        const = self.param("const", _NORMAL, (4, 4, self.plan.channels(4)))
        x, image, side = jnp.broadcast_to(const, (b, *const.shape)), jnp.zeros((b, 4, 4, self.colours)), 4
        for k in range(layers - 1):
            up = k % 2 == 1  # the first of the two convolutions of a resolution
            if up:
                side, image = 2 * side, upsample2(image)
            x, noise = x.astype(self.plan.dtype(side)), self._noise(k, side, b, keys[k])
            x = _StyleConv(self.plan.channels(side), up, name=f"conv_{k}")(x, ws[:, k], noise)
            if not up:
                image += _ToRGB(self.colours, name=f"to_rgb_{k}")(x, ws[:, k + 1])
        return image

    def _noise(self, k: int, side: int, b: int, key: Key | None) -> Array:
        """f32[b or 1, side, side, 1]."""
        if key is not None and not self.is_initializing():
            return axis.draw(jax.random.normal, key, (b, side, side, 1), self.axis_name)
        fixed = self.variable("noise", f"layer_{k}", lambda: _NORMAL(self.make_rng("params"), (side, side, 1)))
        return fixed.value[None]


class _StyleConv(nn.Module):
    features: int
    up: bool

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array) -> Array:
        style = EqualDense(x.shape[-1], bias=1.0, name="style")(w)
        kernel = self.param("kernel", _NORMAL, (3, 3, x.shape[-1], self.features))
        x = modulated_conv(x, kernel, style, up=self.up)
        strength = jnp.broadcast_to(self.param("noise_strength", nn.initializers.zeros, ()), (self.features,))
        x += (spread(strength, x.shape) * noise).astype(x.dtype)
        x += spread(self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype), x.shape)
        return _activate(x)


class _ToRGB(nn.Module):
    colours: int

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        style = EqualDense(x.shape[-1], bias=1.0, name="style")(w) / math.sqrt(x.shape[-1])
        kernel = self.param("kernel", _NORMAL, (1, 1, x.shape[-1], self.colours))
        x = modulated_conv(x, kernel, style, demodulate=False)
        return _clamp(x + spread(self.param("bias", nn.initializers.zeros, (self.colours,)).astype(x.dtype), x.shape))


class _DownBlock(nn.Module):
    """Halves the image."""

    features: int
    residual: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shortcut = None
        if self.residual:
            shortcut = _clamp(EqualConv(self.features, 1, use_bias=False, name="shortcut")(downsample2(x)))
        x = _activate(EqualConv(x.shape[-1], 3, padding=1, name="conv_0")(x))
        x = upfirdn(x, BINOMIAL, pad=(2, 2))
        x = _activate(EqualConv(self.features, 3, stride=2, name="conv_1")(x))
        return x if shortcut is None else (shortcut + x) * math.sqrt(0.5)  # variances add up


def _activate(x: Array) -> Array:
    """Leaky ReLU that keeps the mean square."""
    return _clamp(nn.leaky_relu(x, 0.2) * math.sqrt(2))


def _clamp(x: Array) -> Array:
    return x if x.dtype == jnp.float32 else jnp.clip(x, -_CLAMP, _CLAMP)


def _normalise(x: Array) -> Array:
    """Scales each vector to a mean square of 1."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-8)


def _largest(x: Array, axes: int | tuple[int, ...]) -> Array:
    return jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(x), axes, keepdims=True), 1e-8))


def _side(shape: tuple[int, ...]) -> int:
    sides = [1 << k for k in range(3, 11)]
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] not in sides:
        raise InputError(
            f"StyleGAN2 makes square images of {', '.join(map(str, sides))} pixels a side; the data has shape "
            f"{tuple(shape)}. Resize it, for example with --image-size 32."
        )
    return shape[0]
