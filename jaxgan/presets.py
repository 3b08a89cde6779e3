"""Named configurations, each with what it reproduces, what it costs and what comes out."""

import dataclasses
from typing import NamedTuple

from jaxgan.config import Config, CycleGANConfig, GANConfig, R3GANConfig, StyleGAN2Config


class Preset(NamedTuple):
    """A configuration that somebody has run.

    Attributes:
      config: the configuration.
      reproduces: the paper or the experiment.
      cost: time on two CPU cores, of a run or from the images per second that it logged, or what it needs instead.
      outcome: what one sees at the end.
    """

    config: Config
    reproduces: str
    cost: str
    outcome: str


_CGAN = GANConfig(data="mnist", width=32, conditioning="concat", steps=10_000, half_life=20_000.0, samples=100)
# A discriminator that is held back leaves the labels time to be learned: with batch norm instead, 90 % are right.
_R1: dict = {"objective": "gan_r1", "penalty": 0.1, "penalty_every": 4, "d_norm": False, "steps": 10_000}

# The papers' settings for CIFAR-10: five critic updates, learning rates that fall to 0.
_SNGAN = GANConfig(
    data="cifar10",
    network="resnet",
    width=None,
    latent_dim=128,
    objective="hinge",
    d_steps=5,
    g_lr=2e-4,
    d_lr=2e-4,
    b1=0.0,
    b2=0.9,
    steps=100_000,
    decay_steps=100_000,
    samples=100,
)
_WGAN_GP = dataclasses.replace(_SNGAN, width=128, objective="wgan_gp", spectral=False)
_SMALL: dict = {"width": 32, "d_width": 32, "batch": 32, "d_steps": 2, "steps": 2000, "decay_steps": None}
_NARROW: dict = {"channel_base": 512, "channel_max": 64, "latent_dim": 64, "w_dim": 64, "mapping_layers": 2}
_FACADES: dict = {**_NARROW, "channel_base": 1024}

# R3GAN at 28 pixels: 8, 16 and 32 channels, one block at each resolution. The paper's schedules, shortened.
_R3_NARROW = R3GANConfig(
    channel_base=224, blocks=1, group=8, batch=32, gamma=10.0, gamma_end=3.0, lr=1e-3, lr_end=3e-4, burn_in=100_000.0,
    half_life=10_000.0,
)  # fmt: skip
# Modes as VEEGAN and PacGAN count them.
_MODES: dict = {"eval_metrics": "modes", "eval_samples": 26_000, "eval_extractor": "stacked_digits"}


def _epochs(size: int) -> dict:
    """The paper's training: 100 epochs with one learning rate, 100 while it falls to 0."""
    return {"constant_steps": 100 * size, "decay_steps": 100 * size, "steps": 200 * size}


PRESETS: dict[str, Preset] = {
    "digits": Preset(
        GANConfig(
            data="digits",
            image_size=16,
            width=32,
            objective="gan_r1",
            penalty=0.1,
            penalty_every=4,
            d_norm=False,
            steps=6000,
            g_lr=6e-4,
            d_lr=6e-4,
            half_life=20_000.0,
        ),
        reproduces="a first GAN: 1,797 real handwritten digits, enlarged to 16 x 16; R1 of Mescheder et al. 2018",
        cost="2 minutes",
        outcome="digits that a person reads",
    ),
    "gan-mnist": Preset(
        GANConfig(data="mnist", network="mlp", width=512, depth=2, batch=100, steps=20_000, half_life=20_000.0),
        reproduces="Goodfellow et al. 2014: fully connected networks on MNIST",
        cost="4 minutes",
        outcome="legible digits with speckles",
    ),
    "dcgan-mnist": Preset(
        GANConfig(data="mnist", width=32, steps=15_000, half_life=20_000.0),
        reproduces="Radford et al. 2015 on MNIST, at a quarter of the paper's width (--width 128 for that)",
        cost="8 minutes",
        outcome="legible digits, few broken strokes",
    ),
    "wgan-mnist": Preset(
        GANConfig(
            data="mnist",
            width=32,
            objective="wasserstein",
            optimizer="rmsprop",
            g_lr=5e-5,
            d_lr=5e-5,
            d_steps=5,
            steps=15_000,
            half_life=20_000.0,
        ),
        reproduces="Arjovsky et al. 2017: weights clipped at 0.01, RMSProp 5e-5, five critic updates",
        cost="17 minutes",
        outcome="two digits of three legible; the critic's loss falls as they get better",
    ),
    "cgan-mnist": Preset(
        _CGAN,
        reproduces="Mirza & Osindero 2014: the label joined to latents and images, in a narrow DCGAN",
        cost="8 minutes",
        outcome="99 % of the digits are those asked for, by a classifier",
    ),
    "projection-mnist": Preset(
        dataclasses.replace(_CGAN, conditioning="projection", **_R1),
        reproduces="Miyato & Koyama 2018: conditional batch norm, a projection discriminator; R1 instead of its norms",
        cost="7 minutes",
        outcome="97 % are those asked for",
    ),
    "acgan-mnist": Preset(
        dataclasses.replace(_CGAN, conditioning="acgan", classifier_weight=0.1, **_R1 | {"steps": 40_000}),
        reproduces="Odena et al. 2017: an auxiliary classifier, which learns from real images alone",
        cost="21 minutes",
        outcome="96 % are those asked for; some twos are not",
    ),
    "sngan-cifar10": Preset(
        _SNGAN,
        reproduces="Miyato et al. 2018: ResNets of the paper's size, spectral normalisation, hinge loss",
        cost="a GPU",
        outcome="not run yet",
    ),
    "sngan-projection-cifar10": Preset(
        dataclasses.replace(_SNGAN, conditioning="projection"),
        reproduces="Miyato & Koyama 2018: conditional batch norm and a projection discriminator on top",
        cost="a GPU",
        outcome="not run yet",
    ),
    "wgan-gp-cifar10": Preset(
        _WGAN_GP,
        reproduces="Gulrajani et al. 2017: ResNets with a gradient penalty",
        cost="a GPU",
        outcome="not run yet",
    ),
    "sngan-cifar10-small": Preset(
        dataclasses.replace(_SNGAN, **_SMALL),
        reproduces="sngan-cifar10 at an eighth of its width",
        cost="12 minutes of one core",
        outcome="skies, grounds and dark shapes in CIFAR's colours, none an object; some under a grid; no collapse",
    ),
    "sngan-projection-cifar10-small": Preset(
        dataclasses.replace(_SNGAN, conditioning="projection", **_SMALL),
        reproduces="sngan-projection-cifar10 at an eighth of its width",
        cost="13 minutes",
        outcome="colours and outlines of the classes, with texture that no object has; no collapse",
    ),
    "wgan-gp-cifar10-small": Preset(
        dataclasses.replace(_WGAN_GP, **_SMALL),
        reproduces="wgan-gp-cifar10 at a quarter of its width",
        cost="15 minutes of one core",
        outcome="skies, grounds and spots of CIFAR's colours under a grid; the critic's distance falls from 8 to 1.3",
    ),
    "dcgan-64": Preset(
        GANConfig(data="lsun/bedroom", image_size=64, width=128, batch=128, steps=100_000),
        reproduces="Radford et al. 2015: the paper's network for 64 x 64 pixels; --data takes any folder of images",
        cost="a GPU",
        outcome="not run yet",
    ),
    "cyclegan": Preset(
        CycleGANConfig(data="cycle_gan/horse2zebra", **_epochs(1334)),
        reproduces="Zhu et al. 2017: 256 pixels, 9 blocks, batch 1, 200 epochs; --data, or --a DIR --b DIR",
        cost="a GPU",
        outcome="not run yet",
    ),
    "cyclegan-facades": Preset(
        CycleGANConfig(data="facades", image_size=128, identity=0.0, **_epochs(400)),
        reproduces="Zhu et al. 2017 on photos and label maps of facades, at 128 pixels with 6 blocks",
        cost="a GPU",
        outcome="not run yet",
    ),
    "cyclegan-facades-small": Preset(
        CycleGANConfig(
            data="facades",
            image_size=64,
            width=16,
            blocks=4,
            d_width=32,
            layers=2,
            identity=0.0,
            steps=40_000,
            constant_steps=20_000,
            decay_steps=20_000,
            sample_every=2000,
            save_every=2000,
        ),
        reproduces="Zhu et al. 2017 on facades at 64 pixels, narrow, 100 epochs",
        cost="72 minutes, beside other work",
        outcome="photos become label maps, label maps facades; the labels' edges are soft",
    ),
    "stylegan2-ffhq": Preset(
        StyleGAN2Config(data="./ffhq", image_size=1024, dtype="bfloat16", steps=781_250),
        reproduces="Karras et al. 2020: configuration F, 25 million images; --data is a folder of them",
        cost="GPUs",
        outcome="not run yet",
    ),
    "stylegan2-ada-cifar10": Preset(
        StyleGAN2Config(
            data="cifar10",
            batch=64,
            mapping_layers=2,
            residual=False,
            group=32,
            dtype="bfloat16",
            r1=0.01,
            path_length=0.0,
            mixing=0.0,
            augment="ada",
            g_lr=2.5e-3,
            d_lr=2.5e-3,
            half_life=500_000.0,
            steps=1_562_500,
        ),
        reproduces="Karras et al. 2020 on limited data: their networks and settings for CIFAR-10",
        cost="a GPU",
        outcome="not run yet",
    ),
    "stylegan2-mnist": Preset(
        StyleGAN2Config(data="mnist", image_size=32, batch=16, r1=0.1, steps=36_000, **_NARROW),
        reproduces="Karras et al. 2020: all of it, narrow, at 32 pixels",
        cost="38 minutes",
        outcome="legible digits; thickness, coarse and fine styles can be told apart",
    ),
    "stylegan2-facades64": Preset(
        StyleGAN2Config(
            data="facades", split="trainA", image_size=64, batch=16, augment="ada", steps=10_000, **_FACADES
        ),
        reproduces="Karras et al. 2020 on limited data: 400 photos of facades, adaptive augmentation, narrow",
        cost="72 minutes of one core, by the 7,500 steps that were run",
        outcome="after 7,500 steps houses with floors, windows and roofs, blurred; some lean, as augmented ones do",
    ),
    "gan-ring": Preset(
        GANConfig(
            data="ring",
            network="mlp",
            width=64,
            depth=3,
            latent_dim=2,
            batch=128,
            objective="r3gan",
            penalty=0.02,
            g_lr=1e-3,
            d_lr=1e-3,
            steps=10_000,
            half_life=100_000.0,
            samples=2500,
        ),
        reproduces="eight Gaussians on a ring, as in the literature on mode collapse",
        cost="20 seconds",
        outcome="all eight modes; 85 to 91 % of the samples within three standard deviations of one",
    ),
    "r3gan-cifar10": Preset(
        R3GANConfig(data="cifar10", conditional=True, batch=512, dtype="bfloat16", augment=0.55, steps=488_282),
        reproduces="Huang et al. 2024: the paper's networks, schedules and 250 million images, without mirrored ones",
        cost="a GPU",
        outcome="not run yet",
    ),
    "r3gan-mnist": Preset(
        dataclasses.replace(_R3_NARROW, conditional=True, steps=10_000, samples=100),
        reproduces="Huang et al. 2024: all of it but augmentation, narrow",
        cost="21 minutes of one core",
        outcome="99 % of the digits are those asked for; FID of digit features 1.9; clean strokes",
    ),
    "r3gan-stacked-mnist": Preset(
        dataclasses.replace(_R3_NARROW, data="stacked_mnist", channel_base=448, steps=20_000, **_MODES),
        reproduces="Huang et al. 2024: three digits in each image, 1,000 modes, narrow",
        cost="140 minutes of one core, by the 15,000 steps that were run",
        outcome="after 15,000 steps 993 of 1,000 modes, reverse KL 0.37; the digits can be told apart",
    ),
}


def page() -> str:
    """Every preset as a page of Markdown: docs/presets.md, so that it says what the code says."""
    head = ["preset", "recipe", "data", "steps", "reproduces", "cost", "outcome"]
    rows = [head, ["---"] * len(head)]
    for name, (config, reproduces, cost, outcome) in PRESETS.items():
        data, steps = config.as_data()["data"], f"{config.steps:,}"
        rows.append([f"`{name}`", config.recipe, f"`{data}`", steps, reproduces, cost, outcome])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""# Presets

This page is what `jaxgan presets --markdown` prints. `jaxgan train PRESET` trains one, and every field can be set:
`jaxgan train PRESET --help` lists them. A cost is that of a run on two CPU cores, or what it needs instead.

{table}
"""
