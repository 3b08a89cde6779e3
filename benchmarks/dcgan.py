"""A step of DCGAN on CIFAR-10, of WGAN and of WGAN-GP with its networks, against PyTorch.

python benchmarks/dcgan.py [--size 32|64] [--objective non_saturating|wasserstein|wgan_gp] [--width 64] [--batch 64]

WGAN makes five critic updates a step, as WGAN-GP does; with a penalty the critic has no batch normalisation.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
from functools import partial
from typing import Literal

import numpy as np
import torch
import tyro
from peers import DCGANDiscriminator, DCGANGenerator, Step, images, load
from race import Draws, Ours, check_same

from jaxgan.config import GANConfig
from jaxgan.tuning import tune

_NAMES = {"non_saturating": "dcgan", "wasserstein": "wgan", "wgan_gp": "wgan_gp"}


def main(
    size: int = 32,
    objective: Literal["non_saturating", "wasserstein", "wgan_gp"] = "non_saturating",
    width: int = 64,
    batch: int = 64,
    rounds: int = 9,
) -> None:
    """Races a step of a DCGAN.

    Args:
        size: Pixels of a side.
        objective: What the networks are trained with.
        width: Channels of the layers next to the image.
        batch: Images of an update.
        rounds: How often each side is timed.
    """
    tune()
    d_steps = 1 if objective == "non_saturating" else 5
    config = GANConfig(
        data="cifar10_jpeg",
        image_size=size,
        width=width,
        batch=batch,
        objective=objective,
        d_steps=d_steps,
        d_norm=objective != "wgan_gp",
        optimizer="rmsprop" if objective == "wasserstein" else "adam",
    )
    ours = Ours.of(config, d_steps)
    g = load(DCGANGenerator(size, 3, width, config.latent_dim), ours.state.params["generator"])
    d = load(DCGANDiscriminator(size, 3, width, config.d_norm), ours.state.params["discriminator"])
    real = images(np.asarray(ours.batch["image"]), d_steps)
    if objective == "wasserstein":
        tx = partial(torch.optim.RMSprop, lr=config.g_lr, alpha=0.99, eps=1e-8)
    else:
        tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, config.b2), eps=1e-8, fused=True)
    step = partial(
        Step,
        g,
        d,
        config.latent_dim,
        "wasserstein" if objective == "wgan_gp" else objective,
        tx,
        tx,
        d_steps=d_steps,
        clip=0.01 if objective == "wasserstein" else None,
        penalty=10.0 if objective == "wgan_gp" else None,
    )
    draws = Draws()
    one = step(normal=draws.normal, uniform=draws.uniform)
    one(real)
    apart = check_same(ours.once(draws), one.players)
    ours.against(f"{_NAMES[objective]}_{size}", step, real, apart=apart, rounds=rounds)


if __name__ == "__main__":
    tyro.cli(main)
