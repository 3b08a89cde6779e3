"""PyTorch's side of the race of StyleGAN2.

Modulated convolutions share one kernel and scale their inputs and outputs; filters are depthwise convolutions.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Dense(nn.Linear):
    def __init__(self, into: int, out: int, rate: float = 1.0):
        super().__init__(into, out)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.in_features)), self.bias * self.rate)


class _Conv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class _Filter(nn.Module):
    """The filter [1, 3, 3, 1] along both axes, of sum ``gain``."""

    def __init__(self, channels: int, gain: float = 1.0):
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", (gain * torch.outer(taps, taps)).expand(channels, 1, 4, 4).clone())
        self.channels = channels

    def forward(self, x: Tensor, padding: int, down: int = 1) -> Tensor:
        return F.conv2d(x, self.kernel, None, down, padding, groups=self.channels)

    def double(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel, None, 2, 1, groups=self.channels)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def _scale(style: Tensor, weight: Tensor, into: int) -> Tensor:
    """Demodulation: f[B, C], a kernel whose axis ``into`` is that of its inputs -> f[B, D, 1, 1]."""
    squares = weight.square().sum((2, 3))
    return torch.rsqrt(style.square() @ (squares if into == 0 else squares.T) + 1e-8)[:, :, None, None]


class _StyleConv(nn.Conv2d):
    def __init__(self, into: int, out: int, w_dim: int):
        super().__init__(into, out, 3, padding=1)
        self.style, self.noise_strength = _Dense(w_dim, into), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        style = self.style(w)
        x = F.conv2d(x * style[:, :, None, None], self.weight, None, 1, 1) * _scale(style, self.weight, 1)
        return _activate(x + self.noise_strength * noise + self.bias[:, None, None])


class _StyleConvUp(nn.ConvTranspose2d):
    def __init__(self, into: int, out: int, w_dim: int):
        super().__init__(into, out, 3, 2)
        self.style, self.noise_strength = _Dense(w_dim, into), nn.Parameter(torch.zeros(()))
        self.filter = _Filter(out, 4.0)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
        style = self.style(w)
        x = self.filter(F.conv_transpose2d(x * style[:, :, None, None], self.weight, None, 2), 1)
        x = x * _scale(style, self.weight, 0)
        return _activate(x + self.noise_strength * noise + self.bias[:, None, None])


class _ToRGB(nn.Conv2d):
    def __init__(self, into: int, w_dim: int):
        super().__init__(into, 3, 1)
        self.style = _Dense(w_dim, into)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.style(w) / math.sqrt(self.in_channels)
        return F.conv2d(x * style[:, :, None, None], self.weight, self.bias)


class _Mapping(nn.Module):
    def __init__(self, latent_dim: int, w_dim: int, layers: int):
        super().__init__()
        for i in range(layers):
            self.add_module(f"dense_{i}", _Dense(latent_dim if i == 0 else w_dim, w_dim, 0.01))

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for dense in self.children():
            x = _activate(dense(x))
        return x


class _Synthesis(nn.Module):
    def __init__(self, sides: list[int], channels: Callable[[int], int], w_dim: int):
        super().__init__()
        self.sides = sides
        self.const = nn.Parameter(torch.zeros(4, 4, channels(4)))
        into = channels(4)
        for k, side in enumerate(sides):
            self.add_module(f"conv_{k}", (_StyleConvUp if k % 2 else _StyleConv)(into, channels(side), w_dim))
            into = channels(side)
            if k % 2 == 0:
                self.add_module(f"to_rgb_{k}", _ToRGB(into, w_dim))
        self.filter = _Filter(3, 4.0)

    def forward(self, ws: Tensor, noise: list[Tensor]) -> Tensor:
        x = self.const.permute(2, 0, 1).expand(len(ws), -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image = None
        for k in range(len(self.sides)):
            x = getattr(self, f"conv_{k}")(x, ws[:, k], noise[k])
            if k % 2 == 0:
                colours = getattr(self, f"to_rgb_{k}")(x, ws[:, k + 1])
                image = colours if image is None else self.filter.double(image) + colours
        return image


class StyleGenerator(nn.Module):
    """`jaxgan.nn.stylegan2.StyleGenerator` with one style for all layers."""

    def __init__(self, size: int, channels: Callable[[int], int], latent_dim: int, w_dim: int, mapping_layers: int):
        super().__init__()
        self.size, self.latent_dim = size, latent_dim
        self.sides = [4 << (k + 1) // 2 for k in range(2 * size.bit_length() - 5)]
        self.mapping = _Mapping(latent_dim, w_dim, mapping_layers)
        self.synthesis = _Synthesis(self.sides, channels, w_dim)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def styles(self, z: Tensor) -> Tensor:
        """f[B, latent_dim] -> f[B, layers, w_dim]."""
        return self.mapping(z)[:, None].repeat(1, len(self.sides) + 1, 1)


class StyleDiscriminator(nn.Module):
    """`jaxgan.nn.stylegan2.StyleDiscriminator` with residual blocks."""

    def __init__(self, size: int, channels: Callable[[int], int], group: int):
        super().__init__()
        self.group = group
        self.sides = [size >> i for i in range(size.bit_length() - 3)]  # that are halved
        self.from_rgb = _Conv(3, channels(size), 1)
        for side in self.sides:
            self.add_module(f"block_{side}", _Block(channels(side), channels(side // 2)))
        features = channels(4)
        self.conv = _Conv(features + 1, features, 3, padding=1)
        self.dense, self.logit = _Dense(16 * features, features), _Dense(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = _activate(self.from_rgb(x))
        for side in self.sides:
            x = getattr(self, f"block_{side}")(x)
        variance = x.unflatten(0, (-1, self.group)).var(1, correction=0)
        std = torch.sqrt(variance + 1e-8).mean((1, 2, 3)).repeat_interleave(self.group)
        x = torch.cat([x, std[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        x = _activate(self.conv(x)).permute(0, 2, 3, 1).flatten(1)
        return self.logit(_activate(self.dense(x)))[:, 0]


class _Block(nn.Module):
    def __init__(self, into: int, out: int):
        super().__init__()
        self.conv_0, self.conv_1 = _Conv(into, into, 3, padding=1), _Conv(into, out, 3, 2)
        self.shortcut, self.filter = _Conv(into, out, 1, bias=False), _Filter(into)

    def forward(self, x: Tensor) -> Tensor:
        y = _activate(self.conv_1(self.filter(_activate(self.conv_0(x)), 2)))
        return (self.shortcut(self.filter(x, 1, 2)) + y) * math.sqrt(0.5)


class Step:
    """One step of StyleGAN2 without mixed styles and augmentation, with both regularisers on the steps that have them.

    Attributes:
      players: modules and optimisers, as `race.check_same` takes them.
    """

    def __init__(
        self,
        generator: StyleGenerator,
        discriminator: StyleDiscriminator,
        rates: tuple[float, float],
        *,
        r1: float,
        r1_every: int,
        path_length: float,
        path_every: int,
        first: int = 0,
        keep: float = 0.999,
        compiled: bool = False,
        normal: Callable[..., Tensor] = torch.randn,
    ):
        self.g, self.d = g, d = copy.deepcopy(generator), copy.deepcopy(discriminator)
        self.average = [p.detach().clone() for p in g.parameters()]
        self.g_tx, self.d_tx = _adam(g, rates[0], path_every), _adam(d, rates[1], r1_every)
        self.players = {"generator": (g, self.g_tx), "discriminator": (d, self.d_tx)}
        self.r1, self.r1_every, self.path_length, self.path_every = r1, r1_every, path_length, path_every
        self.count, self.keep, self.normal = first, keep, normal
        self.mean_length = torch.zeros(())

        def discriminator_loss(real: Tensor, z: Tensor, noise: list[Tensor]) -> Tensor:
            with torch.no_grad():
                fake = g.synthesis(g.styles(z), noise)
            real_logits, fake_logits = d(torch.cat([real, fake])).chunk(2)
            return (F.softplus(-real_logits) + F.softplus(fake_logits)).mean()

        def generator_loss(z: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
            ws = g.styles(z)
            return F.softplus(-d(g.synthesis(ws, noise))).mean(), ws[:, 0].mean(0)

        self.discriminator_loss = torch.compile(discriminator_loss) if compiled else discriminator_loss
        self.generator_loss = torch.compile(generator_loss) if compiled else generator_loss

    def __call__(self, real: Tensor) -> None:
        _update(self.d_tx, self.discriminator_loss(real, *self._draw(len(real))))
        if self.count % self.r1_every == 0:
            _update(self.d_tx, self.r1_every * self._r1(real))
        self.d.requires_grad_(False)
        loss, mean = self.generator_loss(*self._draw(len(real)))
        _update(self.g_tx, loss)
        self.d.requires_grad_(True)
        self.g.w_avg.lerp_(mean.detach(), 0.002)
        if self.count % self.path_every == 0:
            _update(self.g_tx, self.path_every * self._path(len(real) // 2))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.g.parameters()], 1 - self.keep)
        self.count += 1

    def run(self, real: Tensor) -> Callable[[int], None]:
        """Steps on one batch, as `race.entry` takes them."""

        def run(steps: int) -> None:
            for _ in range(steps):
                self(real)

        return run

    # Derivatives of derivatives are beyond torch.compile.

    def _r1(self, real: Tensor) -> Tensor:
        real = real.detach().requires_grad_()
        (grad,) = torch.autograd.grad(self.d(real).sum(), real, create_graph=True)
        return self.r1 / 2 * grad.square().sum((1, 2, 3)).mean()

    def _path(self, n: int) -> Tensor:
        z, noise = self._draw(n)
        ws = self.g.styles(z)
        image = self.g.synthesis(ws, noise)
        pull = self.normal(n, self.g.size, self.g.size, 3).permute(0, 3, 1, 2) / self.g.size
        (grad,) = torch.autograd.grad((image * pull).sum(), ws, create_graph=True)
        length = grad.square().sum(2).mean(1).sqrt()
        penalty = self.path_length * (length - self.mean_length).square().mean()
        self.mean_length = torch.lerp(self.mean_length, length.detach().mean(), 0.01)
        return penalty

    def _draw(self, n: int) -> tuple[Tensor, list[Tensor]]:
        noise = [self.normal(n, side, side, 1).permute(0, 3, 1, 2) for side in self.g.sides]
        return self.normal(n, self.g.latent_dim), noise


def _adam(module: nn.Module, rate: float, interval: int) -> torch.optim.Optimizer:
    """`jaxgan.transforms.lazy_adam`."""
    c = interval / (interval + 1)
    return torch.optim.Adam(module.parameters(), lr=c * rate, betas=(0.0, 0.99**c), eps=1e-8, fused=True)


def _update(tx: torch.optim.Optimizer, loss: Any) -> None:
    # Zeros and not None: moments decay as well where a regulariser has no gradient.
    tx.zero_grad(set_to_none=False)
    loss.backward()
    tx.step()
