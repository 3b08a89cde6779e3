"""A step of SNGAN on CIFAR-10, ResNets of 32 pixels with five discriminator updates a step, against PyTorch.

    python benchmarks/sngan.py [--width 64] [--batch 64]

PyTorch's discriminator has its own spectral normalisation, which starts from jaxgan's vectors.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import dataclasses
from functools import partial

import numpy as np
import torch
import tyro
from peers import ResNetDiscriminator, ResNetGenerator, Step, images, load, normalise
from race import Draws, Ours, check_same

from jaxgan.config import GANConfig
from jaxgan.presets import PRESETS
from jaxgan.tuning import tune


def main(width: int = 64, batch: int = 64, rounds: int = 9) -> None:
    """Races a step of SNGAN.

    Args:
        width: Channels of the blocks.
        batch: Images of an update.
        rounds: How often each side is timed.
    """
    tune()
    preset = PRESETS["sngan-cifar10"].config
    assert isinstance(preset, GANConfig)
    config = dataclasses.replace(preset, data="cifar10_jpeg", width=width, batch=batch, decay_steps=None)
    ours = Ours.of(config, config.d_steps)
    g = load(ResNetGenerator(width, config.latent_dim), ours.state.params["generator"])
    d = load(ResNetDiscriminator(width, spectral=True), ours.state.params["discriminator"])
    normalise(d, ours.state.variables["discriminator"]["spectral"])
    real = images(np.asarray(ours.batch["image"]), config.d_steps)
    tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, config.b2), eps=1e-8, fused=True)
    step = partial(Step, g, d, config.latent_dim, "hinge", tx, tx, d_steps=config.d_steps, spectral=True)
    draws = Draws()
    one = step(normal=draws.normal)
    one(real)
    apart = check_same(ours.once(draws), one.players)
    ours.against("sngan_32", step, real, apart=apart, rounds=rounds)


if __name__ == "__main__":
    tyro.cli(main)
