"""What a game does while it is played: whether it turns or draws, how steep discriminators are, what players feel.

Players who follow their own gradients move along a vector field v. Where they are, the eigenvalues of its Jacobian v'
say how the motion goes on: imaginary parts turn, negative real parts draw together, positive ones drive apart (see
`jaxgan.dynamics`). What optimisers make of the gradients is left out, and so are a CycleGAN's images of earlier steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxgan.dynamics import arnoldi, ritz_values
from jaxgan.errors import InputError
from jaxgan.games.game import Players, gradients
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Batch, Key

# What `values` has; where there are several discriminators "/" and the name of a network follow.
NAMES = (
    "largest_real", "largest_imaginary", "real_slope", "fake_slope", "generator_gradient", "discriminator_gradient",
)  # fmt: skip


class Diagnosis(NamedTuple):
    """A look at a game, arrays.

    Attributes:
      hessenberg: f32[m, m] of the Jacobian of the vector field: `ritz_values` of it are near its outermost eigenvalues.
      slopes: f32[] by name: "real_slope", the mean norm of the discriminator's gradient by each real image, and
        "fake_slope", by images of the generator as it is now, in its mode of sampling; of a CycleGAN "real_slope/a",
        "real_slope/b", ..., by the domain of the images.
      gradients: f32[] by name: "generator_gradient", the norm of the gradient that the generator follows, which has
        vanished if it is near 0, and "discriminator_gradient"; of a CycleGAN by network, "generator_gradient/ab", ...
    """

    hessenberg: Array
    slopes: dict[str, Array]
    gradients: dict[str, Array]


def diagnose(gan: GAN, state: TrainState, batch: Batch, key: Key, *, products: int = 20) -> Diagnosis:
    """Looks at the game of generators and discriminators; a pure function, to be compiled by ``jax.jit``.

    Under the key and the batch the game is a fixed one. It costs about as much as 4 * products gradients of both
    players, and memory for so many copies of the parameters. ``jax.vmap`` looks at the members of an ensemble.

    Args:
      gan: of a recipe that tells its losses: `gan`, `wgan`, `cyclegan`, `stylegan2`, `r3gan`; built without an
        ``axis_name``.
      state: of it.
      batch: of one update, as the GAN's step takes it: B examples, with their conditions.
      key: of the latents, and of the iteration's first vector.
      products: with the Jacobian; more find eigenvalues more exactly.

    Raises:
      InputError: as `check`; while tracing, for a batch that lacks what the GAN is conditioned on.

    >>> values(jax.jit(partial(diagnose, dcgan))(state, {"image": images}, key))  # doctest: +SKIP
    """
    check(gan)
    assert gan.judged is not None
    game_key, sample_key, start_key = jax.random.split(key, 3)
    game = {player: (loss, optax.identity()) for player, loss in gan.losses.items()}

    def field(params: Players) -> Players:
        return gradients(game, params, state, batch, game_key)[0]

    here, jacobian = jax.linearize(field, {player: state.params[player] for player in game})
    flat, unravel = ravel_pytree(here)

    def product(v: Array) -> Array:
        return -ravel_pytree(jacobian(unravel(v)))[0]

    own = {"params": state.params["generator"], **state.variables["generator"]}
    now = state.replace(average=state.average | {"generator": own})
    judged = gan.judged(now, batch, sample_key)
    slopes = {
        _of(f"{kind}_slope", name): _slope(each.critic, getattr(each, kind))
        for kind in ("real", "fake")
        for name, each in judged.items()
    }
    norms = {
        _of(f"{player}_gradient", name): optax.tree.norm(gradient)
        for player, own in here.items()
        for name, gradient in ({"": own} if "" in judged else own).items()
    }
    start = jax.random.normal(start_key, flat.shape, flat.dtype)
    return Diagnosis(arnoldi(product, start, products), slopes, norms)


def check(gan: GAN) -> None:
    """Says what there is to say before anything is compiled.

    Raises:
      InputError: if the GAN does not tell its losses.

    >>> check(dcgan)  # doctest: +SKIP
    """
    if not gan.losses or gan.judged is None:
        raise InputError(
            "This GAN does not tell its losses and what its discriminators judge; those of gan(), wgan(), cyclegan(), "
            "stylegan2() and r3gan() do. Of an ensemble diagnose the members, each with the GAN that it is a state of."
        )


def values(diagnosis: Diagnosis) -> dict[str, float]:
    """The numbers of a diagnosis by name; on the host.

    Returns:
      ``largest_real`` and ``largest_imaginary``, of the eigenvalues of v', as near as the iteration came to them; and
      the slopes and gradients of `Diagnosis`. NaN eigenvalues where the game is not finite.

    >>> values(Diagnosis(jnp.array([[-2.0]]), {"real_slope": jnp.ones(())}, {"generator_gradient": jnp.zeros(())}))
    {'largest_real': -2.0, 'largest_imaginary': 0.0, 'real_slope': 1.0, 'generator_gradient': 0.0}
    """
    matrix = np.asarray(diagnosis.hessenberg)
    found = ritz_values(matrix) if np.isfinite(matrix).all() else np.array([complex(np.nan, np.nan)])
    largest = {"largest_real": np.real(found).max(), "largest_imaginary": np.imag(found).max()}
    return {name: float(value) for name, value in (largest | diagnosis.slopes | diagnosis.gradients).items()}


def _of(value: str, name: str) -> str:
    """What a value is called in the log: with the name of its network, if that has one."""
    return f"{value}/{name}" if name else value


def _slope(critic: Callable[[Array], Array], images: Array) -> Array:
    gradient = jax.grad(lambda x: jnp.sum(critic(x).astype(jnp.float32)))(images)
    return jnp.mean(jnp.linalg.norm(gradient.reshape(len(gradient), -1), axis=-1))
