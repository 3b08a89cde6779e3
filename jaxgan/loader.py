"""Loads a function that `jaxgan export` wrote. It needs jax, numpy and flatbuffers, and no jaxgan.

>>> make = load("generator.jaxexport")  # doctest: +SKIP
>>> images = make(np.random.default_rng(0).standard_normal((16, 100), np.float32))  # doctest: +SKIP
"""

from pathlib import Path

from jax import export, jit


def load(path):
    """``(inputs, as model.json lists them) -> images f32[batch, H, W, C] in [-1, 1]``, of any batch."""
    return jit(export.deserialize(bytearray(Path(path).read_bytes())).call)
