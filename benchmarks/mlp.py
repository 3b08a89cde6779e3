"""A GAN of fully connected networks on the ring of eight Gaussians, steps scanned as one program, against PyTorch.

    python benchmarks/mlp.py [--width 128] [--depth 3]

PyTorch's peers are eager steps with a fused optimiser, the two losses compiled, and the whole step compiled.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import tyro
from peers import MLP, Step, load
from race import Draws, Ours, check_same, entry, race

from jaxgan.config import GANConfig
from jaxgan.tuning import tune


def main(width: int = 128, depth: int = 3, batch: int = 128, length: int = 100, rounds: int = 9) -> None:
    """Races a step of a small GAN.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers of each network.
        batch: Points of an update.
        length: Steps of one program.
        rounds: How often each side is timed.
    """
    tune()
    config = GANConfig(data="ring", network="mlp", width=width, depth=depth, latent_dim=2, batch=batch)
    ours = Ours.of(config)
    g = load(MLP(2, width, depth, 2, slope=0.0), ours.state.params["generator"])
    d = load(MLP(2, width, depth, 1, slope=0.2), ours.state.params["discriminator"])
    real = torch.from_numpy(np.array(ours.batch["image"]))
    tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, config.b2), eps=1e-8, fused=True)
    step = partial(Step, g, d, config.latent_dim, "non_saturating", tx, tx)
    draws = Draws()
    one = step(normal=draws.normal)
    one(real)
    apart = check_same(ours.once(draws), one.players)

    def whole() -> Callable[[int], None]:
        program = torch.compile(step())

        def run(steps: int) -> None:
            for _ in range(steps):
                program(real)

        return run

    race(
        f"mlp_{depth}x{width}",
        entry(partial(ours.scanned, length), length),
        {
            "eager": entry(lambda: step().run(real)),
            "torch.compile of the losses": entry(lambda: step(compiled=True).run(real)),
            "torch.compile of the step": entry(whole),
        },
        rounds=rounds,
        steps_per_program=length,
        **ours.about(apart),
    )


if __name__ == "__main__":
    tyro.cli(main)
