"""PyTorch's side of the race of CycleGAN."""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import copy
import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _norm(x: Tensor) -> Tensor:
    """Instance normalisation: a group for each channel, which unlike ``F.instance_norm`` keeps the channels last."""
    return F.group_norm(x, x.shape[1])


def _reflect(x: Tensor, pad: int) -> Tensor:
    return F.pad(x, (pad,) * 4, mode="reflect")


class ResnetGenerator(nn.Module):
    """`jaxgan.nn.cyclegan.ResnetGenerator`."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.Conv_0 = nn.Conv2d(3, width, 7, bias=False)
        self.Conv_1, self.Conv_2 = (nn.Conv2d(n * width, 2 * n * width, 3, 2, 1, bias=False) for n in (1, 2))
        for i in range(2 * blocks):
            self.add_module(f"Conv_{3 + i}", nn.Conv2d(4 * width, 4 * width, 3, bias=False))
        self.ConvTranspose_0, self.ConvTranspose_1 = (
            nn.ConvTranspose2d(2 * n * width, n * width, 4, 2, 1, bias=False) for n in (2, 1)
        )
        self.add_module(f"Conv_{3 + 2 * blocks}", nn.Conv2d(width, 3, 7))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(_norm(self.Conv_0(_reflect(x, 3))))
        for conv in (self.Conv_1, self.Conv_2):
            x = F.relu(_norm(conv(x)))
        for i in range(self.blocks):
            residual = F.relu(_norm(getattr(self, f"Conv_{3 + 2 * i}")(_reflect(x, 1))))
            x = x + _norm(getattr(self, f"Conv_{4 + 2 * i}")(_reflect(residual, 1)))
        for conv in (self.ConvTranspose_0, self.ConvTranspose_1):
            x = F.relu(_norm(conv(x)))
        return torch.tanh(getattr(self, f"Conv_{3 + 2 * self.blocks}")(_reflect(x, 3)))


class PatchDiscriminator(nn.Module):
    """`jaxgan.nn.cyclegan.PatchDiscriminator` for patches of 70 pixels."""

    def __init__(self, width: int):
        super().__init__()
        self.Conv_0 = nn.Conv2d(3, width, 4, 2, 1)
        for i in (1, 2, 3):
            self.add_module(f"Conv_{i}", nn.Conv2d(width << (i - 1), width << i, 4, 2 if i < 3 else 1, 1, bias=False))
        self.Conv_4 = nn.Conv2d(8 * width, 1, 4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.Conv_0(x), 0.2)
        for i in (1, 2, 3):
            x = F.leaky_relu(_norm(getattr(self, f"Conv_{i}")(x)), 0.2)
        return self.Conv_4(x)


class _History:
    """Fakes of earlier steps: while it is not full it keeps each, then every other one gives way to one of them."""

    def __init__(self, size: int):
        self.size, self.images = size, []

    def query(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes.split(1):
            if len(self.images) < self.size:
                self.images.append(fake)
            elif random.random() < 0.5:
                i = random.randrange(self.size)
                fake, self.images[i] = self.images[i], fake
            shown.append(fake)
        return torch.cat(shown)


class Step:
    """One step of CycleGAN with least squares and without an identity loss, its pools empty at first.

    Attributes:
      players: modules and optimisers, as `race.check_same` takes them.
    """

    def __init__(
        self,
        generators: nn.ModuleDict,
        discriminators: nn.ModuleDict,
        tx: Callable[[Any], torch.optim.Optimizer],
        *,
        cycle: float,
        pool: int,
        compiled: bool = False,
        layout: torch.memory_format = torch.channels_last,
    ):
        g, d = (copy.deepcopy(each).to(memory_format=layout) for each in (generators, discriminators))
        self.layout = layout
        self.g_tx, self.d_tx = tx(g.parameters()), tx(d.parameters())
        self.players = {"generator": (g, self.g_tx), "discriminator": (d, self.d_tx)}
        self.pools = {"a": _History(pool), "b": _History(pool)}

        def generator_loss(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            fake_a, fake_b = g["ba"](b), g["ab"](a)
            adversarial = sum((d[side](x) - 1).square().mean() for side, x in (("a", fake_a), ("b", fake_b)))
            cycles = F.l1_loss(g["ba"](fake_b), a) + F.l1_loss(g["ab"](fake_a), b)
            return adversarial + cycle * cycles, fake_a, fake_b

        def discriminator_loss(a: Tensor, b: Tensor, fake_a: Tensor, fake_b: Tensor) -> Tensor:
            loss = torch.zeros(())
            for side, real, fake in (("a", a, fake_a), ("b", b, fake_b)):
                real_logits, fake_logits = d[side](torch.cat([real, fake])).chunk(2)
                loss = loss + ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2
            return loss

        self.generator_loss = torch.compile(generator_loss) if compiled else generator_loss
        self.discriminator_loss = torch.compile(discriminator_loss) if compiled else discriminator_loss

    def __call__(self, a: Tensor, b: Tensor) -> None:
        d = self.players["discriminator"][0]
        d.requires_grad_(False)
        self.g_tx.zero_grad()
        loss, fake_a, fake_b = self.generator_loss(a, b)
        loss.backward()
        self.g_tx.step()
        d.requires_grad_(True)
        self.d_tx.zero_grad()
        seen = (self.pools["a"].query(fake_a.detach()), self.pools["b"].query(fake_b.detach()))
        self.discriminator_loss(a, b, *seen).backward()
        self.d_tx.step()

    def run(self, a: Tensor, b: Tensor) -> Callable[[int], None]:
        """Steps on one batch, as `race.entry` takes them."""
        a, b = (x.contiguous(memory_format=self.layout) for x in (a, b))

        def run(steps: int) -> None:
            for _ in range(steps):
                self(a, b)

        return run
