"""PyTorch's side of the races of ensembles: all members as one network with stacked parameters, in two ways."""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from peers import LOSSES
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


class Members(nn.Module):
    """`peers.MLP` of every member, as products of stacked matrices; with the names and layout that Flax's stacks have.

    A single member's parameters may be put in their place: that is what ``vmap`` sees.
    """

    def __init__(self, members: int, into: int, width: int, depth: int, out: int, slope: float):
        super().__init__()
        self.depth, self.slope = depth, slope
        for i in range(depth + 1):
            layer = _Dense(members, into if i == 0 else width, out if i == depth else width)
            self.add_module(f"Dense_{i}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """f32[N, B, into] -> f32[N, B, out], or logits f32[N, B]."""
        for i in range(self.depth):
            x = F.leaky_relu(getattr(self, f"Dense_{i}")(x), self.slope)
        x = getattr(self, f"Dense_{self.depth}")(x)
        return x[..., 0] if x.shape[-1] == 1 else x


class _Dense(nn.Module):
    def __init__(self, members: int, into: int, out: int):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(members, into, out))
        self.bias = nn.Parameter(torch.zeros(members, out))

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel.ndim == 2:
            return torch.addmm(self.bias, x, self.kernel)
        return torch.baddbmm(self.bias[:, None], x, self.kernel)


class Vmapped:
    """`peers.Step` of every member by ``vmap`` of one member's gradients, with one optimiser for all.

    Attributes:
      players: modules and optimisers, as `race.check_same` takes them.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        objective: str,
        tx: Callable[[Any], torch.optim.Optimizer],
        normal: Callable[[], Tensor],
        *,
        keep: float = 0.997,
    ):
        g, d = copy.deepcopy(generator), copy.deepcopy(discriminator)
        self.average = [p.detach().clone() for p in g.parameters()]
        self.players = {"generator": (g, tx(g.parameters())), "discriminator": (d, tx(d.parameters()))}
        self.keep, self.normal = keep, normal
        d_loss, g_loss = LOSSES[objective]

        def discriminator_loss(params: dict[str, Tensor], other: dict[str, Tensor], real: Tensor, z: Tensor) -> Tensor:
            fake = functional_call(g, other, (z,))
            return d_loss(functional_call(d, params, (real,)), functional_call(d, params, (fake,))).mean()

        def generator_loss(params: dict[str, Tensor], other: dict[str, Tensor], z: Tensor) -> Tensor:
            return g_loss(functional_call(d, other, (functional_call(g, params, (z,)),))).mean()

        self.discriminator_grad, self.generator_grad = vmap(grad(discriminator_loss)), vmap(grad(generator_loss))

    def __call__(self, real: Tensor) -> None:
        """One step on f32[N, B, ...]."""
        g, d = (
            {name: p.detach() for name, p in self.players[player][0].named_parameters()}
            for player in ("generator", "discriminator")
        )
        self._update("discriminator", self.discriminator_grad(d, g, real, self.normal()))
        self._update("generator", self.generator_grad(g, d, self.normal()))
        torch._foreach_lerp_(self.average, list(g.values()), 1 - self.keep)

    def _update(self, player: str, grads: dict[str, Tensor]) -> None:
        module, tx = self.players[player]
        for name, p in module.named_parameters():
            p.grad = grads[name]
        tx.step()

    def run(self, real: Tensor) -> Callable[[int], None]:
        """Steps on one batch, as `race.entry` takes them."""

        def run(steps: int) -> None:
            for _ in range(steps):
                self(real)

        return run
