"""Spectral normalisation as a layer (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

A kernel ``[..., fan in, out]`` is read as a matrix with ``out`` columns, as in the paper. Its
largest singular value is ``|W v|``, where v, the first right singular vector, is followed by power
iteration from one update to the next.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan.typing import Array

TINY = 1e-12  # norms up to here count as zero: there is no direction to follow


class SpectralNorm(nn.Module):
    """Divides the kernels of a layer by their spectral norms.

    The vectors live in the collection ``"spectral"``. They move by one power iteration in a call
    for which that collection is mutable, so whoever applies the network decides: once an update,
    whatever the number of passes. Every other call is a function of parameters and vectors alone.

    Attributes:
      layer: the layer, ``nn.Dense`` or ``nn.Conv``, say: it has float32 parameters and no other
        variables. Leaves with less than two axes, such as biases, stay as they are.
      iterations: power iterations in an updating call.

    >>> layer = SpectralNorm(nn.Dense(128))
    >>> variables = layer.init(jax.random.key(0), jnp.zeros((1, 64)))
    >>> sorted(variables)
    ['params', 'spectral']
    """

    layer: nn.Module
    iterations: int = 1

    @nn.compact
    def __call__(self, *args: Any, update_stats: bool | None = None, **kwargs: Any) -> Any:
        """The layer's output with normalised kernels; ``update_stats`` overrides whether the vectors move."""
        if update_stats is None:
            update_stats = self.is_mutable_collection("spectral")
        if self.is_initializing():
            self.layer(*args, **kwargs)  # makes the parameters

        def normalize(path: tuple[Any, ...], kernel: Array) -> Array:
            if kernel.ndim < 2:
                return kernel
            name = "/".join(entry.key for entry in path)
            vector = self.variable("spectral", name, self._first_vector, kernel)
            if update_stats and not self.is_initializing():
                vector.value = singular_vector(kernel, vector.value, self.iterations)
            sigma = spectral_norm(kernel, vector.value)
            return kernel / jnp.where(sigma > TINY, sigma, 1.0)

        layer, variables = self.layer.unbind()
        params = jax.tree_util.tree_map_with_path(normalize, variables["params"])
        return layer.apply({"params": params}, *args, **kwargs)

    def _first_vector(self, kernel: Array) -> Array:
        start = jax.random.normal(self.make_rng("params"), kernel.shape[-1:])
        # One iteration from a random start would give too small a norm, hence too large a first
        # kernel. A loop compiles ten times faster than its unrolled body.
        return jax.lax.fori_loop(0, 10, lambda _, v: singular_vector(kernel, v, 1), start)


def singular_vector(kernel: Array, start: Array, iterations: int) -> Array:
    """Power iteration towards the first right singular vector of a kernel.

    Args:
      kernel: f32[..., out]; the leading axes are flattened.
      start: f32[out], not zero.
      iterations: multiplications by ``W^T W``, each followed by normalisation.

    Returns:
      f32[out], of norm 1; no gradient flows to the kernel.
    """
    matrix = jax.lax.stop_gradient(kernel.reshape(-1, kernel.shape[-1]))
    vector = start / optax.safe_norm(start, TINY)
    for _ in range(iterations):
        image = _matmul(matrix, vector)
        image = _matmul(image / optax.safe_norm(image, TINY), matrix)
        norm = optax.safe_norm(image, TINY)
        vector = jnp.where(norm > TINY, image / norm, vector)  # a kernel of zeros turns nothing
    return vector


def spectral_norm(kernel: Array, vector: Array) -> Array:
    """``|W v| / |v|``: the largest singular value if v is the first right singular vector, else less.

    Its gradient with respect to the kernel is ``u v^T`` with ``u = W v / |W v|``, for a v of norm 1.
    Averaged vectors, which are shorter, will do: their direction alone counts.
    """
    image = _matmul(kernel.reshape(-1, kernel.shape[-1]), vector)
    return optax.safe_norm(image, TINY) / optax.safe_norm(vector, TINY)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")  # accelerators round to fewer bits by default
