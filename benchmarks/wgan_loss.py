"""Does the critic's loss tell how good samples are? (Arjovsky et al. 2017, figure 3.)

    jaxgan train wgan-mnist --save-every 500 --keep 100
    python benchmarks/wgan_loss.py runs/wgan-mnist

At every checkpoint it draws samples and measures their sliced Wasserstein distance to real test images, which knows
nothing of the critic, and sets it beside the negative critic loss that was logged at that step.
"""

from pathlib import Path

import jax
import numpy as np
import tyro
from results import write
from scipy.stats import spearmanr

from jaxgan import data
from jaxgan.config import GANConfig
from jaxgan.divergences import sliced_wasserstein
from jaxgan.rundir import open_run
from jaxgan.runlog import read
from jaxgan.sample import draw_samples


def main(run: tyro.conf.Positional[Path], count: int = 2000, first: int = 500) -> None:
    """Measures the correlation over the checkpoints of a run.

    Args:
        run: Directory of a run that kept its checkpoints.
        count: Samples and real images.
        first: Step of the first checkpoint to look at; before it the critic is still catching up.
    """
    config = open_run(run)
    assert isinstance(config, GANConfig)
    test = data.load(config.data, data_dir=config.data_dir, split="test")
    assert isinstance(test, data.Source)
    real = test.read(np.arange(count))["image"].reshape(count, -1) / 127.5 - 1
    logged = {row["step"]: -row["discriminator_loss"] for row in read(run / "metrics.jsonl")}
    distance = jax.jit(lambda key, x: sliced_wasserstein(key, x, real.astype(np.float32), p=1, projections=512))

    rows = []
    for step in sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()):
        if step >= first and step in logged:
            samples = draw_samples(run, count, seed=1, step=step).reshape(count, -1)
            rows.append([step, logged[step], float(distance(jax.random.key(2), samples))])
            print("step {:6d}   negative critic loss {:.4f}   sliced Wasserstein distance {:.4f}".format(*rows[-1]))
    correlation, p_value = np.asarray(spearmanr(*np.array(rows)[:, 1:].T), float)
    write(
        "wgan_loss",
        {
            "samples": count,
            "steps, negative critic loss, sliced W1 to test images": rows,
            "spearman": float(correlation),
            "p_value": float(p_value),
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
