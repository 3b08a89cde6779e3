"""A step of a conditional DCGAN on MNIST, the label joined to latents and images, against PyTorch.

python benchmarks/cgan.py [--width 32] [--batch 64]
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import dataclasses
from functools import partial

import numpy as np
import torch
import tyro
from peers import ConcatDiscriminator, ConcatGenerator, DCGANDiscriminator, DCGANGenerator, Step, images, load
from race import Draws, Ours, check_same

from jaxgan.config import GANConfig
from jaxgan.presets import PRESETS
from jaxgan.tuning import tune

_CLASSES = 10


def main(width: int = 32, batch: int = 64, rounds: int = 9) -> None:
    """Races a step of a conditional GAN.

    Args:
        width: Channels of the layers next to the image.
        batch: Images of an update.
        rounds: How often each side is timed.
    """
    tune()
    preset = PRESETS["cgan-mnist"].config
    assert isinstance(preset, GANConfig)
    config = dataclasses.replace(preset, width=width, batch=batch)
    ours = Ours.of(config)
    generator = DCGANGenerator(28, 1, width, config.latent_dim + _CLASSES)
    discriminator = DCGANDiscriminator(28, 1 + _CLASSES, width, norm=True)
    g = load(ConcatGenerator(generator, _CLASSES), ours.state.params["generator"])
    d = load(ConcatDiscriminator(discriminator, _CLASSES), ours.state.params["discriminator"])
    real = images(np.asarray(ours.batch["image"]))
    label = torch.from_numpy(np.asarray(ours.batch["label"]).astype(np.int64))
    tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, config.b2), eps=1e-8, fused=True)
    step = partial(Step, g, d, config.latent_dim, "non_saturating", tx, tx)
    draws = Draws()
    one = step(normal=draws.normal)
    one(real, label)
    apart = check_same(ours.once(draws), one.players)
    ours.against("cgan", step, real, label, apart=apart, rounds=rounds)


if __name__ == "__main__":
    tyro.cli(main)
