"""PyTorch's side of the races: the same networks with the same names, and steps as one writes them there."""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def load(module: nn.Module, params: dict[str, Any]) -> nn.Module:
    """Copies Flax parameters into a module whose submodules and parameters have the names of Flax's.

    Convolutions get the layout of the channels last.
    """
    with torch.no_grad():
        for name, tensor, turn, _ in _pairs(module):
            tree = params
            for part in name:
                tree = tree[part]
            value = np.array(tree)
            tensor.copy_(torch.from_numpy(value.transpose(turn).copy() if turn else value))
    return module.to(memory_format=torch.channels_last)


def weights(module: nn.Module, of: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> dict[str, Any]:
    """A module's parameters as Flax has them, or what ``of`` makes of each, of the same shape."""
    tree: dict[str, Any] = {}
    for name, tensor, _, back in _pairs(module):
        node = tree
        for part in name[:-1]:
            node = node.setdefault(part, {})
        value = of(tensor).detach().numpy()
        node[name[-1]] = value.transpose(back) if back else value
    return tree


def _pairs(module: nn.Module):
    """Name in Flax, tensor, and the axes that turn Flax's array into the tensor's and back."""
    for path, tensor in module.named_parameters():
        # What spectral normalisation makes the weight of.
        *above, name = path.replace("parametrizations.weight.original", "weight").split(".")
        layer = module.get_submodule(".".join(above))
        if name != "weight":
            yield (*above, name), tensor, None, None
        elif isinstance(layer, nn.ConvTranspose2d):
            yield (*above, "kernel"), tensor, (2, 3, 0, 1), (2, 3, 0, 1)
        elif isinstance(layer, nn.Conv2d):
            yield (*above, "kernel"), tensor, (3, 2, 0, 1), (2, 3, 1, 0)
        elif isinstance(layer, nn.Linear):
            yield (*above, "kernel"), tensor, (1, 0), (1, 0)
        else:
            yield (*above, "scale"), tensor, None, None


def normalise(module: nn.Module, vectors: dict[str, Any]) -> nn.Module:
    """Spectral normalisation of all dense layers and convolutions, of one power iteration from jaxgan's vectors on.

    Args:
      module: whose layers are normalised, in place.
      vectors: jaxgan's, ``{"block_0": {"SpectralNorm_0": {"kernel": f32[out]}}}``: number i of a module belongs to its
        layer number i, as ``Conv_0``.
    """
    layers = [(n, x) for n, x in module.named_modules() if isinstance(x, nn.Conv2d | nn.Linear)]
    for path, layer in layers:
        *above, name = path.split(".")
        tree = vectors
        for part in above:
            tree = tree[part]
        vector = np.array(tree[f"SpectralNorm_{name.split('_')[1]}"]["kernel"])
        state = spectral_norm(layer).parametrizations.weight[0]
        # PyTorch holds both vectors: the left one is jaxgan's, and the right one follows from it.
        state._u.copy_(torch.from_numpy(vector))
        with torch.no_grad():
            state._v.copy_(F.normalize(layer.parametrizations.weight.original.flatten(1).T @ state._u, dim=0))
    return module


class DCGANGenerator(nn.Module):
    """`jaxgan.nn.DCGANGenerator` for sides of 4 to 7 pixels << k."""

    def __init__(self, size: int, channels: int, width: int, latent_dim: int):
        super().__init__()
        self.k = int(math.log2(size // 4))
        self.base, self.features = size >> self.k, width << (self.k - 1)
        self.Dense_0 = nn.Linear(latent_dim, self.base**2 * self.features, bias=False)
        for i in range(self.k):
            features = width << (self.k - 1 - i)
            out = features // 2 if i < self.k - 1 else channels
            self.add_module(f"BatchNorm_{i}", nn.BatchNorm2d(features))
            self.add_module(f"ConvTranspose_{i}", nn.ConvTranspose2d(features, out, 4, 2, 1, bias=False))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, z: Tensor) -> Tensor:
        x = self.Dense_0(z).view(-1, self.base, self.base, self.features).permute(0, 3, 1, 2)
        for i in range(self.k):
            x = getattr(self, f"ConvTranspose_{i}")(F.relu(getattr(self, f"BatchNorm_{i}")(x)))
        return torch.tanh(x + self.bias[:, None, None])


class DCGANDiscriminator(nn.Module):
    """`jaxgan.nn.DCGANDiscriminator` for sides of 4 to 7 pixels << k."""

    def __init__(self, size: int, channels: int, width: int, norm: bool):
        super().__init__()
        self.k, self.norm = int(math.log2(size // 4)), norm
        for i in range(self.k):
            into = width << (i - 1) if i else channels
            self.add_module(f"Conv_{i}", nn.Conv2d(into, width << i, 4, 2, 1, bias=not norm or i == 0))
            if norm and i:
                self.add_module(f"BatchNorm_{i - 1}", nn.BatchNorm2d(width << i))
        self.Dense_0 = nn.Linear((size >> self.k) ** 2 * width << (self.k - 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.k):
            x = getattr(self, f"Conv_{i}")(x)
            x = getattr(self, f"BatchNorm_{i - 1}")(x) if self.norm and i else x
            x = F.leaky_relu(x, 0.2)
        return self.Dense_0(x.permute(0, 2, 3, 1).flatten(1))[:, 0]


class ConcatGenerator(nn.Module):
    """`jaxgan.nn.ConcatGenerator` for labels."""

    def __init__(self, network: nn.Module, classes: int):
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        return self.network(torch.cat([z, F.one_hot(label, self.classes).to(z.dtype)], 1))


class ConcatDiscriminator(nn.Module):
    """`jaxgan.nn.ConcatDiscriminator` for labels."""

    def __init__(self, network: nn.Module, classes: int):
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        y = F.one_hot(label, self.classes).to(x.dtype)[:, :, None, None]
        x = torch.cat([x, y.expand(-1, -1, *x.shape[2:])], 1)
        return self.network(x.contiguous(memory_format=torch.channels_last))


class MLP(nn.Module):
    """`jaxgan.nn.MLPGenerator` and `jaxgan.nn.MLPDiscriminator` for points."""

    def __init__(self, into: int, width: int, depth: int, out: int, slope: float):
        super().__init__()
        self.depth, self.slope = depth, slope
        for i in range(depth + 1):
            self.add_module(f"Dense_{i}", nn.Linear(into if i == 0 else width, out if i == depth else width))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.depth):
            x = F.leaky_relu(getattr(self, f"Dense_{i}")(x), self.slope)
        x = getattr(self, f"Dense_{self.depth}")(x)
        return x[:, 0] if x.shape[1] == 1 else x  # logits


class ResNetGenerator(nn.Module):
    """`jaxgan.nn.ResNetGenerator` at 32 pixels: three blocks that double."""

    def __init__(self, width: int, latent_dim: int):
        super().__init__()
        self.width = width
        self.Dense_0 = nn.Linear(latent_dim, 16 * width)
        for i in range(3):
            self.add_module(f"block_{i}", _Up(width))
        self.BatchNorm_0, self.Conv_0 = nn.BatchNorm2d(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.Dense_0(z).view(-1, 4, 4, self.width).permute(0, 3, 1, 2)
        for i in range(3):
            x = getattr(self, f"block_{i}")(x)
        return torch.tanh(self.Conv_0(F.relu(self.BatchNorm_0(x))))


class _Up(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.BatchNorm_0, self.BatchNorm_1 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.Conv_0, self.Conv_1 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.Conv_2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.Conv_0(F.interpolate(F.relu(self.BatchNorm_0(x)), scale_factor=2))
        y = self.Conv_1(F.relu(self.BatchNorm_1(y)))
        return y + F.interpolate(self.Conv_2(x), scale_factor=2)


class ResNetDiscriminator(nn.Module):
    """`jaxgan.nn.ResNetDiscriminator` at 32 pixels, with or without spectral normalisation."""

    def __init__(self, width: int, spectral: bool):
        super().__init__()
        self.spectral = spectral
        self.block_0 = _First(width)
        for i in (1, 2, 3):
            self.add_module(f"block_{i}", _Down(width, half=i == 1))
        self.Dense_0 = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(4):
            x = getattr(self, f"block_{i}")(x)
        x = F.relu(x)
        return self.Dense_0(x.sum((2, 3)) if self.spectral else x.mean((2, 3)))[:, 0]


class _First(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.Conv_0, self.Conv_1 = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.Conv_2 = nn.Conv2d(3, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(self.Conv_1(F.relu(self.Conv_0(x))), 2)
        return y + self.Conv_2(F.avg_pool2d(x, 2))


class _Down(nn.Module):
    def __init__(self, width: int, half: bool):
        super().__init__()
        self.half = half
        self.Conv_0, self.Conv_1 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        if half:
            self.Conv_2 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.Conv_1(F.relu(self.Conv_0(F.relu(x))))
        return F.avg_pool2d(y, 2) + self.Conv_2(F.avg_pool2d(x, 2)) if self.half else y + x


class Step:
    """One step of a GAN: d_steps updates of the discriminator, one of the generator, the average of the generator.

    A discriminator with spectral normalisation judges real and fake images in one pass, with one power iteration, and
    keeps its vectors in the generator's turn.

    Attributes:
      players: modules and optimisers, as `race.check_same` takes them.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent_dim: int,
        objective: str,
        g_tx: Callable[[Any], torch.optim.Optimizer],
        d_tx: Callable[[Any], torch.optim.Optimizer],
        *,
        d_steps: int = 1,
        clip: float | None = None,
        penalty: float | None = None,
        spectral: bool = False,
        keep: float = 0.997,
        total: Callable[[Tensor], Tensor] = torch.mean,
        compiled: bool = False,
        normal: Callable[..., Tensor] = torch.randn,
        uniform: Callable[..., Tensor] = torch.rand,
    ):
        g, d = copy.deepcopy(generator), copy.deepcopy(discriminator)
        self.average = [p.detach().clone() for p in g.parameters()]
        self.g_tx, self.d_tx = g_tx(g.parameters()), d_tx(d.parameters())
        self.players = {"generator": (g, self.g_tx), "discriminator": (d, self.d_tx)}
        self.d_steps, self.clip, self.spectral, self.keep = d_steps, clip, spectral, keep
        self.latent_dim, self.normal = latent_dim, normal
        d_loss, g_loss = LOSSES[objective]

        def discriminator_loss(z: Tensor, real: Tensor, *label: Tensor) -> Tensor:
            with torch.no_grad():
                fake = g(z, *label)
            logits = d(torch.cat([real, fake])).chunk(2) if spectral else (d(real, *label), d(fake, *label))
            loss = total(d_loss(*logits))
            if penalty is not None:
                share = uniform(len(real), 1, 1, 1)
                mixed = (share * real + (1 - share) * fake).requires_grad_()
                (grad,) = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)
                loss = loss + penalty * (grad.flatten(1).norm(dim=1) - 1).square().mean()
            return loss

        def generator_loss(z: Tensor, *label: Tensor) -> Tensor:
            return total(g_loss(d(g(z, *label), *label)))

        # Derivatives of derivatives are beyond torch.compile.
        self.discriminator_loss = (
            torch.compile(discriminator_loss) if compiled and penalty is None else discriminator_loss
        )
        self.generator_loss = torch.compile(generator_loss) if compiled else generator_loss

    def __call__(self, *batch: Tensor) -> None:
        g, d = self.players["generator"][0], self.players["discriminator"][0]
        parts = list(zip(*(x.chunk(self.d_steps) for x in batch), strict=True))
        n = len(parts[-1][0])
        d.train()
        for part in parts:
            self.d_tx.zero_grad()
            self.discriminator_loss(self.normal(n, self.latent_dim), *part).backward()
            self.d_tx.step()
            if self.clip is not None:
                with torch.no_grad():
                    torch._foreach_clamp_min_(list(d.parameters()), -self.clip)
                    torch._foreach_clamp_max_(list(d.parameters()), self.clip)
        d.requires_grad_(False).train(not self.spectral)
        self.g_tx.zero_grad()
        self.generator_loss(self.normal(n, self.latent_dim), *parts[-1][1:]).backward()
        self.g_tx.step()
        d.requires_grad_(True)
        torch._foreach_lerp_(self.average, [p.detach() for p in g.parameters()], 1 - self.keep)

    def run(self, *batch: Tensor) -> Callable[[int], None]:
        """Steps on one batch, images and perhaps labels, as `race.entry` takes them."""

        def run(steps: int) -> None:
            for _ in range(steps):
                self(*batch)

        return run


LOSSES = {
    "non_saturating": (lambda real, fake: F.softplus(-real) + F.softplus(fake), lambda fake: F.softplus(-fake)),
    "wasserstein": (lambda real, fake: fake - real, lambda fake: -fake),
    "hinge": (lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda fake: -fake),
}


def images(batch: np.ndarray, slices: int = 1) -> Tensor:
    """f32[B, H, W, C] -> [B, C, H, W] with the channels last in memory.

    Args:
      batch: of a step.
      slices: how many updates take it apart: jaxgan's update i sees the rows i, i + slices, ...; here they follow each
        other.
    """
    rows = np.arange(len(batch)).reshape(-1, slices).T.ravel()
    return torch.from_numpy(np.asarray(batch)[rows]).permute(0, 3, 1, 2)
