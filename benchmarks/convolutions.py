"""The convolutions of the races one by one, against PyTorch's: what a step could reach if it were nothing else.

    python benchmarks/convolutions.py [--rounds 9]

Each layer is a convolution, its gradient in the images and its gradient in the kernel, on both sides with channels last
and turn by turn. Beside them stands a product of two large matrices.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro
from race import Entry, in_turns
from results import write

from jaxgan.nn import conv
from jaxgan.tuning import tune

# (images, pixels of a side, channels, channels of the result, kernel, stride, padding)
LAYERS: dict[str, tuple[int, ...]] = {
    "DCGAN-32, first": (64, 32, 3, 64, 4, 2, 1),
    "DCGAN-32, second": (64, 16, 64, 128, 4, 2, 1),
    "DCGAN-32, third": (64, 8, 128, 256, 4, 2, 1),
    "SNGAN, 32 pixels": (64, 32, 64, 64, 3, 1, 1),
    "SNGAN, 16 pixels": (64, 16, 64, 64, 3, 1, 1),
    "SNGAN, 8 pixels": (64, 8, 64, 64, 3, 1, 1),
    "SNGAN, to the image": (64, 32, 64, 3, 3, 1, 1),
    "CycleGAN, residual": (1, 34, 64, 64, 3, 1, 0),
    "CycleGAN, to the image": (1, 134, 16, 3, 7, 1, 0),
}
_SIDE = 2048  # of the matrices


def main(rounds: int = 9) -> None:
    """Times every layer on both sides.

    Args:
        rounds: How often; the medians count.
    """
    tune()
    found = {name: layer(*shape, rounds=rounds) for name, shape in LAYERS.items()}
    a = np.ones((_SIDE, _SIDE), np.float32)
    ours, theirs = jax.jit(jnp.matmul), torch.from_numpy(a)
    found["matrix product"] = {
        "product": compare(lambda: ours(a, a), lambda: theirs @ theirs, 2 * _SIDE**3, rounds),
    }
    write("convolutions", {"rounds": rounds, "torch": torch.__version__, "layers": found})
    print(f"\n| layer | map | jaxgan | PyTorch | ratio of times |\n{'| --- ' * 5}|")
    for name, maps in found.items():
        for each, row in maps.items():
            speeds = " | ".join(f"{row[side]['gflop_s']} GFLOP/s" for side in ("jaxgan", "torch"))
            print(f"| {name} | {each} | {speeds} | {row['ratio']:.2f} |")


def layer(n: int, side: int, c: int, d: int, k: int, stride: int, padding: int, *, rounds: int) -> dict[str, Any]:
    """The three maps of one layer; both sides must give the same numbers."""
    rng = np.random.default_rng(0)
    after = (side + 2 * padding - k) // stride + 1
    x, kernel, y = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((n, side, side, c), (k, k, c, d), (n, after, after, d))
    )
    ours = partial(conv, stride=stride, padding=padding)
    maps: dict[str, Callable] = {
        "convolution": lambda x, kernel, _: ours(x, kernel),
        "images": lambda x, kernel, y: jax.vjp(lambda x: ours(x, kernel), x)[1](y)[0],
        "kernel": lambda x, kernel, y: jax.vjp(lambda kernel: ours(x, kernel), kernel)[1](y)[0],
    }
    tx, tkernel, ty = (
        torch.from_numpy(a.transpose(turn).copy()).to(memory_format=torch.channels_last)
        for a, turn in ((x, (0, 3, 1, 2)), (kernel, (3, 2, 0, 1)), (y, (0, 3, 1, 2)))
    )

    def gradient(*wanted: bool) -> torch.Tensor:
        geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
        grads = torch.ops.aten.convolution_backward(ty, tx, tkernel, None, *geometry, [*wanted, False])
        return grads[wanted.index(True)]

    peers = {
        "convolution": lambda: torch.nn.functional.conv2d(tx, tkernel, stride=stride, padding=padding),
        "images": lambda: gradient(True, False),
        "kernel": lambda: gradient(False, True),
    }
    back = {"convolution": (0, 2, 3, 1), "images": (0, 2, 3, 1), "kernel": (2, 3, 1, 0)}
    flop, rows, arrays = 2 * n * after**2 * k**2 * c * d, {}, [jnp.asarray(a) for a in (x, kernel, y)]
    for name, function in maps.items():
        program = jax.jit(function)
        seen, other = np.asarray(program(*arrays)), peers[name]().numpy().transpose(back[name])
        np.testing.assert_allclose(seen, other, atol=1e-4 * np.abs(other).max())
        rows[name] = compare(partial(program, *arrays), peers[name], flop, rounds)
    return rows


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], flop: float, rounds: int) -> dict[str, Any]:
    """Both sides by turns: medians, and the median of the ratios within a round."""

    def entry(call: Callable[[], Any]) -> Entry:
        def run(steps: int) -> None:
            for _ in range(steps):
                call()

        return Entry(run, compile_seconds=0.0, temporary_mib=0.0)

    sides = {"jaxgan": entry(lambda: jax.block_until_ready(ours())), "torch": entry(theirs)}
    times = in_turns(sides, rounds, seconds=0.1)
    rows: dict[str, Any] = {
        side: {"ms": round(1e3 * t, 3), "gflop_s": round(flop / t / 1e9)}
        for side, t in ((side, statistics.median(each)) for side, each in times.items())
    }
    ratios = [t / j for j, t in zip(*times.values(), strict=True)]
    return rows | {"ratio": round(statistics.median(ratios), 3)}


if __name__ == "__main__":
    tyro.cli(main)
