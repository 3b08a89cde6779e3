"""A step of a narrow StyleGAN2 on facades of 64 pixels, over whole cycles of its lazy regularisers, against PyTorch.

python benchmarks/stylegan2.py [--width 16] [--batch 16]

Neither side mixes styles or augments images. Two steps are compared: one without the regularisers, and one with both.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
from functools import partial

import jax.numpy as jnp
import numpy as np
import tyro
from peers import images, load
from peers_stylegan2 import Step, StyleDiscriminator, StyleGenerator
from race import Draws, Ours, check_same

from jaxgan.config import StyleGAN2Config
from jaxgan.tuning import tune


def main(width: int = 16, batch: int = 16, rounds: int = 9) -> None:
    """Races a step of StyleGAN2.

    Args:
        width: Channels next to the image; inner layers, latents and styles have four times as many.
        batch: Images of an update.
        rounds: How often each side is timed.
    """
    tune()
    config = StyleGAN2Config(
        data="facades",
        split="trainA",
        image_size=64,
        batch=batch,
        channel_base=64 * width,
        channel_max=4 * width,
        latent_dim=4 * width,
        w_dim=4 * width,
        mapping_layers=2,
        mixing=0.0,
    )
    ours = Ours.of(config)

    def channels(side: int) -> int:
        return min(config.channel_base // side, config.channel_max)

    g = StyleGenerator(64, channels, config.latent_dim, config.w_dim, config.mapping_layers)
    d = StyleDiscriminator(64, channels, config.group)
    load(g, ours.state.params["generator"])
    load(d, ours.state.params["discriminator"])
    real = images(np.asarray(ours.batch["image"]))
    step = partial(
        Step,
        g,
        d,
        (config.g_lr, config.d_lr),
        r1=config.r1,
        r1_every=config.r1_every,
        path_length=config.path_length,
        path_every=config.path_every,
    )
    draws = Draws()
    apart = {}
    for name, first in (("plain", 1), ("regularised", 0)):
        one = step(normal=draws.normal, first=first)
        one(real)
        begun = ours._replace(state=ours.state.replace(step=jnp.int32(first)))
        apart[name] = check_same(begun.once(draws), one.players)
    ours.against("stylegan2_64", step, real, apart=apart, rounds=rounds, steps=config.r1_every)


if __name__ == "__main__":
    tyro.cli(main)
