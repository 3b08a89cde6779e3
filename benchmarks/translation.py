r"""Does a CycleGAN translate rightly? Measured on pairs, which it never used.

    jaxgan train cyclegan-facades-small --save-every 4000 --keep 20
    python benchmarks/translation.py facades runs/cyclegan-facades-small
    python benchmarks/translation.py digits                    # trains on MNIST, then measures

What the same networks reach where they are given the pairs, as pix2pix is:

    jaxgan train cyclegan-facades-small --run runs/facades-paired --paired 100 --cycle 0 --pool 0 --half-life 500 \
        --steps 6000 --constant-steps 4000 --decay-steps 2000 --save-every 2000 --keep 3
    python benchmarks/translation.py facades runs/facades-paired

Facades: photos of the test set are translated to label maps; every pixel counts as the label whose colour is nearest,
and is right if that is the label of the pixel's true map. The best constant guess is the label that most pixels of the
training maps have.

Digits: domain a is MNIST's first 30,000 digits, domain b the other 30,000, turned by 20 degrees and inverted.
Translations of test digits are compared with the known map of them. (A quarter turn is not recovered: correlation 0.03
after 3,000 steps. Convolutions look near by, and every map of digits onto turned digits fools the discriminators.)
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from results import write
from scipy.ndimage import rotate

from jaxgan import data, pictures
from jaxgan.config import CycleGANConfig
from jaxgan.errors import InputError
from jaxgan.sample import restore
from jaxgan.state import TrainState
from jaxgan.train import train
from jaxgan.typing import GAN, Array

# The colours of the twelve labels in the facades' maps.
LABELS = [
    (0, 0, 222), (0, 48, 255), (0, 128, 255), (0, 207, 255), (32, 255, 224), (112, 255, 144),
    (192, 255, 63), (255, 240, 0), (255, 160, 0), (255, 80, 0), (255, 0, 0), (174, 0, 0),
]  # fmt: skip


def nearest(images: np.ndarray) -> np.ndarray:
    """The labels whose colours are nearest to those of the pixels: f[N, H, W, 3] in [-1, 1] -> i[N, H, W]."""
    colours = np.array(LABELS, np.float32) / 127.5 - 1
    return np.stack([np.argmin(np.square(image[..., None, :] - colours).sum(-1), axis=-1) for image in images])


def translator(gan: GAN) -> Callable[..., np.ndarray]:
    """``(state, a=images or b=images) -> images``, all images of one domain into the other; compiled once for each."""
    program = jax.jit(lambda state, images: gan.sample(state, jax.random.key(0), len(*images.values()), **images))

    def translate(state: TrainState, **images: np.ndarray) -> np.ndarray:
        ((side, x),) = images.items()
        parts = np.array_split(x, max(1, len(x) // 50))
        return np.concatenate([program(state, {side: jnp.asarray(part)}) for part in parts])

    return translate


def scale(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / 127.5 - 1


def distance(x: np.ndarray | Array, y: np.ndarray | Array) -> float:
    return float(np.mean(np.abs(np.asarray(x) - np.asarray(y))))


def compare(made: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Mean absolute distance, and correlation of what differs from the mean image."""
    mean = true.mean(0)
    correlation = np.corrcoef((made - mean).ravel(), (true - mean).ravel())[0, 1]
    return {"distance": distance(made, true), "correlation": float(correlation)}


def facades(run: tyro.conf.Positional[Path]) -> None:
    """Label accuracy and cycle consistency of a run on the 100 test pairs, for each of its checkpoints.

    Args:
        run: Directory of the run.
    """
    config, gan, *_ = restore(run)
    assert isinstance(config, CycleGANConfig)
    translate = translator(gan)
    pairs = data.domains(config.data, data_dir=config.data_dir, size=config.image_size, paired=True)
    photos, maps = (scale(side.read(np.arange(side.size))["image"]) for side in pairs.shown)
    known = np.bincount(nearest(scale(pairs.b.read(np.arange(pairs.b.size))["image"])).ravel(), minlength=len(LABELS))
    truth, constant = nearest(maps), int(np.argmax(known))
    rows = []
    for step in sorted(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdigit()):
        state = restore(run, step).state
        to_map, to_photo = translate(state, a=photos), translate(state, b=maps)
        rows.append(
            {
                "step": step,
                "label_accuracy": float(np.mean(nearest(to_map) == truth)),
                "cycle_photo": distance(translate(state, b=to_map), photos),
                "cycle_map": distance(translate(state, a=to_photo), maps),
            }
        )
        print(rows[-1], flush=True)
    guess = {"colour": LABELS[constant], "accuracy": float(np.mean(truth == constant))}
    write(f"translation_{run.name}", {"test_pairs": len(photos), "best_constant": guess, "by_step": rows})


def turned(images: np.ndarray, angle: float) -> np.ndarray:
    """The map between the domains of digits: rotated, and inverted."""
    return 255 - rotate(images, angle, axes=(2, 1), reshape=False, order=1)


def digits(
    run: Path = Path("runs/cyclegan-digits"), angle: float = 20.0, steps: int = 3000, data_dir: Path | None = None
) -> None:
    """Trains on MNIST against its inverted, turned digits, and compares translations with the known map.

    Args:
        run: Directory of the run that is trained; one that is there is measured as it is.
        angle: By which the digits of b are turned, in degrees.
        steps: Of the training.
        data_dir: Where tfds data sets are prepared.
    """
    source, test = (data.load("mnist", data_dir=data_dir, split=split) for split in ("train", "test"))
    if not isinstance(source, data.Source) or not isinstance(test, data.Source):
        raise InputError("mnist is no set of images.")
    half = source.size // 2
    a, b = source.read(np.arange(half))["image"], turned(source.read(np.arange(half, source.size))["image"], angle)
    held = test.read(np.arange(test.size))["image"]
    shown = data.from_arrays(held[:8]), data.from_arrays(turned(held[:8], angle))
    domains = data.Domains("digits", data.from_arrays(a), data.from_arrays(b), 28, False, False, shown)
    config = CycleGANConfig(
        data="digits", image_size=28, flip=False, width=16, blocks=3, d_width=32, layers=2, batch=8, identity=0.0,
        steps=steps, constant_steps=steps // 2, decay_steps=steps // 2,
    )  # fmt: skip
    if not (run / "config.json").is_file():
        train(config, run, source=domains)
    _, gan, state, *_ = restore(run)
    translate = translator(gan)
    true_a, true_b = scale(held), scale(turned(held, angle))
    to_b, to_a = translate(state, a=true_a), translate(state, b=true_b)
    pictures.save(np.stack([true_a, to_b, true_b, to_a], axis=1)[:16].reshape(-1, 28, 28, 1), run / "pairs.png", 8)
    measured = {
        "held_pairs": len(held),
        "angle": angle,
        "to_b": compare(to_b, true_b),
        "to_a": compare(to_a, true_a),
        "inverted_alone_to_b": compare(-true_a, true_b),  # what it would be to learn the colours and not the rotation
        "median_image_to_b": distance(np.broadcast_to(np.median(true_b, 0), true_b.shape), true_b),
        "cycle_a": distance(translate(state, b=to_b), true_a),
    }
    write("translation_digits", measured)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"facades": facades, "digits": digits})
