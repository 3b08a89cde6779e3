"""Where the time of an evaluation goes: 10,000 samples of dcgan-mnist, and features as wide as Inception's.

    python benchmarks/metrics.py

Every part runs once to compile and is then timed, median of the rounds. The generator is untrained, which costs the
same. The peer of the Frechet distance is the usual one, SciPy's square root of the product of both covariances.
"""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import scipy.linalg
import tyro
from results import write

from jaxgan import data
from jaxgan.evaluate import drawer
from jaxgan.metrics import digits, fid, kernel, moments, prdc, reference
from jaxgan.presets import PRESETS


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median time of the work after a first run."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(samples: int = 10_000, rounds: int = 3, wide: int = 2048, data_dir: str | None = None) -> None:
    """Times the parts.

    Args:
        samples: Generated images.
        rounds: How often each part is timed.
        wide: The number of features of the second half, of random numbers.
        data_dir: Where tfds data sets are prepared.
    """
    config = PRESETS["dcgan-mnist"].config
    source = data.load("mnist", data_dir=data_dir)
    assert isinstance(source, data.Source)
    gan, extractor = config.build(source.shape, source.classes), digits()
    state = jax.jit(gan.init)(jax.random.key(0))
    draw = drawer(gan, extractor, samples, None, jax.jit)
    real, (fake, _) = reference(source, extractor), draw(state, 0)
    equal = real.first(samples)
    kept = moments(real.features)
    parts = {
        "sampling_and_extraction": seconds(lambda: draw(state, 0), rounds),
        "statistics": seconds(lambda: moments(fake.features), rounds),
        "matrix_root": seconds(lambda: fid(kept, moments(fake.features)), rounds),
        "kid": seconds(lambda: kernel(equal.features, fake.features), rounds),
        "prdc": seconds(lambda: prdc(equal.features, fake.features), rounds),
    }
    parts["matrix_root"] -= parts["statistics"]
    total = sum(parts.values())
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(wide + 500, wide)).astype(np.float32) for _ in range(2))
    a, b = moments(x), moments(y)
    peer = seconds(lambda: scipy.linalg.sqrtm(a.covariance @ b.covariance), 1)
    wide_parts = {
        "statistics": seconds(lambda: moments(x), rounds),
        "matrix_root": seconds(lambda: fid(a, b), 1),
        "scipy_sqrtm": peer,
    }
    write(
        "metrics",
        {
            "samples": samples,
            "seconds": parts | {"total": total},
            "shares": {name: value / total for name, value in parts.items()},
            f"seconds_at_{wide}_features": wide_parts,
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
