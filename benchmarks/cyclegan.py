"""A step of CycleGAN on facades of 128 pixels, both generators and both discriminators, against PyTorch.

python benchmarks/cyclegan.py [--width 16] [--batch 1]

The pools of 50 earlier fakes are empty at first and fill as the steps go on, on both sides.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
from functools import partial

import numpy as np
import torch
import tyro
from peers import images, load
from peers_cyclegan import PatchDiscriminator, ResnetGenerator, Step
from race import Draws, Ours, check_same

from jaxgan.config import CycleGANConfig
from jaxgan.tuning import tune


def main(width: int = 16, batch: int = 1, rounds: int = 9) -> None:
    """Races a step of CycleGAN.

    Args:
        width: Channels of the first layers; the paper has 64.
        batch: Images of each domain in an update.
        rounds: How often each side is timed.
    """
    tune()
    config = CycleGANConfig(data="facades", image_size=128, identity=0.0, width=width, d_width=width, batch=batch)
    ours = Ours.of(config)
    g = torch.nn.ModuleDict({name: ResnetGenerator(width, blocks=6) for name in ("ab", "ba")})
    d = torch.nn.ModuleDict({side: PatchDiscriminator(width) for side in "ab"})
    load(g, ours.state.params["generator"])
    load(d, ours.state.params["discriminator"])
    a, b = (images(np.asarray(ours.batch[side])) for side in "ab")
    tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, 0.999), eps=1e-8, fused=True)
    step = partial(Step, g, d, tx, cycle=config.cycle, pool=config.pool)
    one = step()
    one(a, b)
    apart = check_same(ours.once(Draws()), one.players)
    ways = {
        "eager": {"layout": torch.contiguous_format},
        "eager, channels last": {},
        "torch.compile": {"compiled": True},
    }
    ours.against("cyclegan_128", step, a, b, apart=apart, rounds=rounds, ways=ways)


if __name__ == "__main__":
    tyro.cli(main)
