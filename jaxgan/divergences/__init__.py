"""How far apart two distributions are, in the distances that GANs descend.

Four ways to a number, by what is known of the distributions:

- `closed`: their names. `gaussian_kl`, `gaussian_js`, `gaussian_tv`, `gaussian_w1`, `gaussian_w2`,
  `dirac`, and `parallel_lines`, the example that made the case for the Wasserstein distance.
- `densities`: their probabilities, or their densities at the nodes of a `quadrature`. `kl`,
  `reverse_kl`, `js`, `tv`, the `optimal_discriminator` and the `optimal_logit`.
- `samples`: draws from them. `wasserstein_1d`, exact on the line, and `sliced_wasserstein`
  anywhere.
- `variational`: a discriminator or critic trained to tell them apart. `js_bound`, `kl_bound`,
  `reverse_kl_bound`, `tv_bound` and `wasserstein_bound`, each a lower bound of the true value.

Everything is a pure function that ``jit``, ``vmap`` and ``grad`` accept, in nats, computed in
float32 or, for float64 input, in float64. Values are checked where they are concrete; under a trace
only shapes are.
"""

from jaxgan.divergences.closed import (
    Divergences,
    dirac,
    gaussian_js,
    gaussian_kl,
    gaussian_tv,
    gaussian_w1,
    gaussian_w2,
    parallel_lines,
)
from jaxgan.divergences.densities import (
    js,
    kl,
    optimal_discriminator,
    optimal_logit,
    quadrature,
    reverse_kl,
    tv,
)
from jaxgan.divergences.samples import sliced_wasserstein, wasserstein_1d
from jaxgan.divergences.variational import (
    js_bound,
    kl_bound,
    reverse_kl_bound,
    tv_bound,
    wasserstein_bound,
)

__all__ = [
    "Divergences",
    "dirac",
    "gaussian_js",
    "gaussian_kl",
    "gaussian_tv",
    "gaussian_w1",
    "gaussian_w2",
    "js",
    "js_bound",
    "kl",
    "kl_bound",
    "optimal_discriminator",
    "optimal_logit",
    "parallel_lines",
    "quadrature",
    "reverse_kl",
    "reverse_kl_bound",
    "sliced_wasserstein",
    "tv",
    "tv_bound",
    "wasserstein_1d",
    "wasserstein_bound",
]
