"""What a game does while it is played: whether it turns or draws, how steep the discriminator is, what players feel.

Players who follow their own gradients move along a vector field v. Where they are, the eigenvalues of its Jacobian v'
say how the motion goes on: imaginary parts turn, negative real parts draw together, positive ones drive apart (see
`jaxgan.dynamics`). What optimisers make of the gradients is left out.
"""

from collections.abc import Sequence
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


class Diagnosis(NamedTuple):
    """A look at a game, arrays.

    Attributes:
      hessenberg: f32[m, m] of the Jacobian of the vector field: `ritz_values` of it are near its outermost eigenvalues.
      real_slope: f32[], the mean norm of the discriminator's gradient at real images,
      fake_slope: and at images of the generator as it is now, in its mode of sampling.
      generator_gradient: f32[], the norm of the gradient that the generator follows: it vanishes if it is near 0,
      discriminator_gradient: and that of the discriminator.
    """

    hessenberg: Array
    real_slope: Array
    fake_slope: Array
    generator_gradient: Array
    discriminator_gradient: Array


def diagnose(
    gan: GAN, state: TrainState, batch: Batch, key: Key, *, conditions: Sequence[str] = (), products: int = 20
) -> Diagnosis:
    """Looks at the game of a generator and a discriminator; a pure function, to be compiled by ``jax.jit``.

    Under the key and the batch the game is a fixed one. It costs about as much as 4 * products gradients of both
    players, and memory for so many copies of the parameters.

    Args:
      gan: of a recipe that tells its losses: `gan`, `wgan`, `stylegan2`, `r3gan`; built without an ``axis_name``.
      state: of it.
      batch: of one update: B examples.
      key: of the latents, and of the iteration's first vector.
      conditions: names of entries of the batch that the GAN is conditioned on.
      products: with the Jacobian; more find eigenvalues more exactly.

    Raises:
      InputError: if the GAN does not tell its losses.

    >>> values(jax.jit(partial(diagnose, dcgan))(state, {"image": images}, key))  # doctest: +SKIP
    """
    if not gan.losses or gan.critic is None:
        raise InputError("This GAN does not tell its losses; those of gan(), wgan(), stylegan2() and r3gan() do.")
    critic, losses = gan.critic, gan.losses
    game_key, sample_key, start_key = jax.random.split(key, 3)
    game = {player: (loss, optax.identity()) for player, loss in losses.items()}

    def field(params: Players) -> Players:
        return gradients(game, params, state, batch, game_key)[0]

    here, jacobian = jax.linearize(field, {player: state.params[player] for player in game})
    flat, unravel = ravel_pytree(here)

    def product(v: Array) -> Array:
        return -ravel_pytree(jacobian(unravel(v)))[0]

    given = {name: batch[name] for name in conditions}
    own = {"params": state.params["generator"], **state.variables["generator"]}
    now = state.replace(average=state.average | {"generator": own})
    fake = gan.sample(now, sample_key, len(batch["image"]), **given)

    def slope(images: Array) -> Array:
        gradient = jax.grad(lambda x: jnp.sum(critic(state, x, **given).astype(jnp.float32)))(images)
        return jnp.mean(jnp.linalg.norm(gradient.reshape(len(gradient), -1), axis=-1))

    return Diagnosis(
        arnoldi(product, jax.random.normal(start_key, flat.shape, flat.dtype), products),
        slope(batch["image"]),
        slope(fake),
        optax.tree.norm(here["generator"]),
        optax.tree.norm(here["discriminator"]),
    )


def values(diagnosis: Diagnosis) -> dict[str, float]:
    """The numbers of a diagnosis by name; on the host.

    Returns:
      ``largest_real`` and ``largest_imaginary``, of the eigenvalues of v', as near as the iteration came to them; and
      the other fields of `Diagnosis`. NaN eigenvalues where the game is not finite.
    """
    numbers = {name: float(value) for name, value in diagnosis._asdict().items() if name != "hessenberg"}
    matrix = np.asarray(diagnosis.hessenberg)
    found = ritz_values(matrix) if np.isfinite(matrix).all() else np.array([complex(np.nan, np.nan)])
    largest = {"largest_real": np.real(found).max(), "largest_imaginary": np.imag(found).max()}
    return {name: float(value) for name, value in largest.items()} | numbers
