"""Why a game cycles or converges: its vector field, the field's Jacobian and the eigenvalues.

Players who all follow their own gradient move along v, where v of a player is minus the gradient of
that player's loss with respect to that player's parameters. Near an equilibrium the Jacobian of v
decides (Mescheder et al. 2017, Nagarajan and Kolter 2017):

- in continuous time the game converges if all eigenvalues of v' have negative real parts; purely
  imaginary ones turn in circles for ever;
- a step of size h is an operator F, and iterating it converges if all eigenvalues of F' lie inside
  the unit circle. `simultaneous` steps have F' = I + h v', and turn circles into outward spirals;
  `alternating` ones do not.

A game is its players' losses by name, each a function of the parameters of all players:

>>> equilibrium = {"generator": 0.0, "discriminator": 0.0}
>>> eigenvalues(vector_field(dirac_gan()), equilibrium).imag.round(4)  # a centre: it circles
Array([ 0.5, -0.5], dtype=float32)
>>> eigenvalues(vector_field(dirac_gan(gamma=1.25)), equilibrium).real.round(4)  # R1: a sink
Array([-0.25, -1.  ], dtype=float32)

Products with the Jacobian need no matrix and no function of ours: ``jax.jvp(field, (params,),
(tangent,))[1]`` is v' times a tangent and ``jax.vjp(field, params)[1](cotangent)`` its transpose.
`leading_eigenvalues` and `arnoldi` are built on them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from scipy.sparse import linalg

from jaxgan.errors import InputError, closest
from jaxgan.typing import Array, Params

# Parameters by player.
Players: TypeAlias = dict[str, Params]

# The parameters of all players -> the loss of one, a scalar.
Loss: TypeAlias = Callable[[Players], Array]

# Players -> Players: a vector field, or the operator of one step.
Map: TypeAlias = Callable[[Players], Players]


def vector_field(losses: Mapping[str, Loss]) -> Map:
    """The field v that the players follow: minus each one's gradient of its own loss.

    Args:
      losses: by player, ``{"generator": loss, "discriminator": loss}``; each maps the parameters of
        all players to a scalar that the player wants small.

    Returns:
      A function from parameters by player to velocities of the same structure. Differentiable and,
      for small games, fast enough as it is; wrap it in ``jax.jit`` where networks are involved.

    Raises:
      InputError: when called with parameters whose players are not those of the losses.

    >>> field = vector_field({"x": lambda p: p["x"] * p["y"], "y": lambda p: -p["x"] * p["y"]})
    >>> field({"x": 1.0, "y": 2.0})
    {'x': Array(-2., dtype=float32, weak_type=True), 'y': Array(1., dtype=float32, weak_type=True)}
    """

    def field(params: Players) -> Players:
        if params.keys() != losses.keys():
            raise InputError(
                f"The game has losses for {sorted(losses)} and parameters for {sorted(params)}. "
                "Every player needs both."
            )

        def velocity(player: str) -> Params:
            gradient = jax.grad(lambda own: losses[player]({**params, player: own}))
            return jax.tree.map(jnp.negative, gradient(params[player]))

        return {player: velocity(player) for player in params}

    return field


def simultaneous(field: Map, step_size: float | Array) -> Map:
    """The operator params + h v(params): one gradient step of all players from the same state.

    Near an equilibrium with eigenvalues +-i w it grows by sqrt(1 + h^2 w^2) a step, whatever h: it
    cannot converge. The turn of the same name is ``jaxgan.turns.together``.

    Args:
      field: the vector field of the game.
      step_size: h, positive.

    >>> step = simultaneous(vector_field(dirac_gan()), 0.2)
    >>> abs(eigenvalues(step, {"generator": 0.0, "discriminator": 0.0}))  # sqrt(1 + h^2 / 4)
    Array([1.0049876, 1.0049876], dtype=float32)
    """

    def step(params: Players) -> Players:
        return _moved(params, field(params), step_size)

    return step


def alternating(field: Map, step_size: float | Array, order: Sequence[str] = ("discriminator", "generator")) -> Map:
    """The operator of alternating gradient steps: each player from the state the last one left.

    On a bilinear centre with eigenvalues +-i w its eigenvalues keep modulus 1 up to h = 2 / w and
    leave the circle beyond (Mescheder et al. 2018, lemma 2.4). The turn of the same kind is
    ``jaxgan.turns.sequence``.

    Args:
      field: the vector field of the game.
      step_size: h, positive.
      order: the players in the order of their steps; one that is named twice steps twice.

    Raises:
      InputError: when called with parameters that lack one of the players.

    >>> step = alternating(vector_field(dirac_gan()), 0.2)
    >>> abs(eigenvalues(step, {"generator": 0.0, "discriminator": 0.0})).round(4)
    Array([1., 1.], dtype=float32)
    """

    def step(params: Players) -> Players:
        for player in order:
            if player not in params:
                raise InputError(f"There is no player {player!r}. {closest(player, params)}")
            own = {player: params[player]}
            params = params | _moved(own, {player: field(params)[player]}, step_size)
        return params

    return step


def trajectory(step: Map, params: Players, steps: int) -> Players:
    """The iterates of an operator.

    Args:
      step: the operator, as `simultaneous` or `alternating` makes it.
      params: where it starts, by player.
      steps: how often it is applied.

    Returns:
      The parameters by player, every leaf [...] as [steps + 1, ...], the start first. Differentiable.

    >>> start = {"generator": 1.0, "discriminator": 0.0}
    >>> path = trajectory(simultaneous(vector_field(dirac_gan()), 0.2), start, 100)
    >>> path["generator"].shape
    (101,)
    """
    params = jax.tree.map(jnp.asarray, params)
    last, path = jax.lax.scan(lambda p, _: (step(p), p), params, length=steps)
    return jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), path, last)


def jacobian(field: Map, params: Players) -> Array:
    """The Jacobian of a field or operator as a dense matrix, for small games.

    Args:
      field: any map from parameters by player to the same structure: a vector field, or the
        operator of a step.
      params: where; N numbers in all.

    Returns:
      [N, N], rows and columns in the order of ``jax.flatten_util.ravel_pytree``: players by name in
      alphabetical order. Differentiable.

    >>> jacobian(vector_field(dirac_gan(gamma=1.0)), {"generator": 0.0, "discriminator": 0.0})
    Array([[-1. , -0.5],
           [ 0.5,  0. ]], dtype=float32)
    """
    flat, unravel = _ravel(params)
    return jax.jacfwd(lambda x: ravel_pytree(field(unravel(x)))[0])(flat)


def eigenvalues(field: Map, params: Players) -> Array:
    """All eigenvalues of the Jacobian, for small games.

    Where eigenvalues coincide, as at the critical gamma of `dirac_gan`, they are accurate to the
    square root of the rounding alone, and their gradient is infinite.

    Args:
      field: a vector field, or the operator of a step, as for `jacobian`.
      params: where; N numbers in all.

    Returns:
      complex [N], those with the largest real part first.

    >>> eigenvalues(vector_field(dirac_gan()), {"generator": 0.0, "discriminator": 0.0}).imag.round(4)
    Array([ 0.5, -0.5], dtype=float32)
    """
    values = jnp.linalg.eigvals(jacobian(field, params))
    return values[jnp.lexsort((-values.imag, -values.real))]


def leading_eigenvalues(
    field: Map,
    params: Players,
    k: int = 6,
    which: Literal["LR", "LM", "SR", "SM", "LI", "SI"] = "LR",
) -> np.ndarray:
    """The k most telling eigenvalues of the Jacobian without the matrix, for large games.

    ARPACK's Arnoldi iteration on the host, with one ``jax.jvp`` for each product; it cannot itself
    be jitted or differentiated.

    Args:
      field: as `jacobian`.
      params: where; N numbers in all.
      k: how many, at most N - 2. A conjugate pair may be cut, and its second half left out.
      which: "LR", those of largest real part, which decide the stability of a field; "LM", those of
        largest modulus, which decide that of an operator; "SR", "SM", "LI" and "SI" as in
        ``scipy.sparse.linalg.eigs``.

    Returns:
      complex [k], sorted as `eigenvalues`.

    Raises:
      InputError: if k is out of range.
      scipy.sparse.linalg.ArpackNoConvergence: if the iteration does not settle; it carries those
      that did.

    >>> leading_eigenvalues(vector_field(losses), state.params, k=10)  # doctest: +SKIP
    """
    flat, unravel = _ravel(params)
    n = flat.size
    if not 1 <= k <= n - 2:
        raise InputError(
            f"k is {k}; of {n} eigenvalues the iteration finds 1 to {max(n - 2, 0)}. eigenvalues() gives all of them."
        )

    @jax.jit  # the iteration runs on the host and repeats this one product
    def product(tangent: Array) -> Array:
        return ravel_pytree(jax.jvp(field, (unravel(flat),), (unravel(tangent),))[1])[0]

    def matvec(v: np.ndarray) -> np.ndarray:
        return np.asarray(product(jnp.asarray(v.ravel(), flat.dtype)))

    # SciPy's constructor returns a subclass with other arguments, and its tol is a float.
    operator = linalg.LinearOperator((n, n), matvec=matvec, dtype=flat.dtype)  # pyright: ignore
    # ARPACK would draw its start from the global state of NumPy: one call, one answer.
    start = np.random.default_rng(0).standard_normal(n).astype(flat.dtype)
    tolerance = 10 * float(np.finfo(flat.dtype).eps)
    values = np.asarray(
        linalg.eigs(operator, k, which=which, v0=start, tol=tolerance, return_eigenvectors=False)  # pyright: ignore
    )
    return values[np.lexsort((-values.imag, -values.real))]


def arnoldi(product: Callable[[Array], Array], start: Array, steps: int) -> Array:
    """Arnoldi's iteration: a small matrix whose eigenvalues are near the outermost ones of a large one.

    Pure, of a fixed number of products, so that it can be compiled once and run while a GAN trains; where eigenvalues
    are wanted to a tolerance there is `leading_eigenvalues`. Each vector is made orthogonal to the others twice.

    Args:
      product: f[N] -> f[N], the large matrix times a vector.
      start: f[N], not zero; a random one has a share of every eigenvector.
      steps: products; at most N are of use.

    Returns:
      The Hessenberg matrix f[m, m], m the smaller of steps and N, for `ritz_values`.

    >>> turn = jnp.array([[0.0, -2.0], [2.0, 0.0]])
    >>> ritz_values(arnoldi(lambda v: turn @ v, jnp.array([1.0, 0.0]), 10)).imag
    array([ 2., -2.])
    """
    m = min(steps, start.size)
    noise = 10 * float(jnp.finfo(start.dtype).eps)

    def extend(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, matrix = carry
        w = product(basis[j])
        size = jnp.linalg.norm(w)
        first = basis @ w
        w = w - first @ basis
        second = basis @ w
        w = w - second @ basis
        length = jnp.linalg.norm(w)
        # What is left of a vector in the span of the others is rounding: the iteration has found all that it can.
        length = jnp.where(length > noise * size, length, 0.0)
        basis = basis.at[j + 1].set(jnp.where(length > 0, w / length, 0.0))
        return basis, matrix.at[:, j].set((first + second).at[j + 1].set(length))

    basis = jnp.zeros((m + 1, start.size), start.dtype).at[0].set(start / jnp.linalg.norm(start))
    _, matrix = jax.lax.fori_loop(0, m, extend, (basis, jnp.zeros((m + 1, m), start.dtype)))
    return matrix[:m]


def ritz_values(matrix: ArrayLike) -> np.ndarray:
    """The eigenvalues of what `arnoldi` returns, complex [k], sorted as `eigenvalues`; on the host.

    k is smaller than m where the iteration ended before, in a space that the matrix maps to itself.
    """
    matrix = np.asarray(matrix, np.float64)
    (ends,) = np.nonzero(np.diag(matrix, -1) == 0)
    k = int(ends[0]) + 1 if ends.size else len(matrix)
    values = np.linalg.eigvals(matrix[:k, :k]).astype(complex)
    return values[np.lexsort((-np.imag(values), -np.real(values)))]


def dirac_gan(gamma: float | Array = 0.0, f: Callable[[Array], Array] = jax.nn.log_sigmoid) -> dict[str, Loss]:
    """The Dirac-GAN, the smallest game that shows what GANs do (Mescheder et al. 2018, section 2).

    The data is a point mass at 0, the generator's distribution one at its parameter theta, and the
    discriminator the linear D(x) = psi x. The discriminator maximises f(D(0)) + f(-D(theta)) -
    gamma / 2 psi^2, the generator minimises f(-D(theta)). The penalty is R1: the gradient of D at
    the data is psi.

    At the equilibrium (0, 0) the eigenvalues are -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2). With gamma
    = 0 the game is a
    centre: simultaneous steps of size h grow by sqrt(1 + h^2 f'(0)^2), alternating ones keep their
    distance. gamma = 2 abs(f'(0)) converges fastest.

    Args:
      gamma: the weight of the R1 penalty, at least 0.
      f: ``jax.nn.log_sigmoid``, f(t) = -log(1 + exp(-t)) with f'(0) = 1/2, is the minimax GAN;
        ``lambda t: t`` with f'(0) = 1 is the WGAN without its constraint.

    Returns:
      The losses of the players "generator" and "discriminator", whose parameters are the scalars
      theta and psi (or any pytree with that one leaf, such as ``{"theta": theta}``).

    >>> field = vector_field(dirac_gan(gamma=0.3))
    >>> start = {"generator": 1.0, "discriminator": 0.0}
    >>> path = trajectory(alternating(field, 0.1), start, 1000)
    >>> bool(abs(path["generator"][-1]) < 1e-3)
    True
    """

    def logits(params: Players) -> tuple[Array, Array, Array]:
        (theta,), (psi,) = (jax.tree.leaves(params[p]) for p in ("generator", "discriminator"))
        return psi * 0.0, psi * theta, psi

    def discriminator(params: Players) -> Array:
        real, fake, psi = logits(params)
        return gamma / 2 * psi**2 - f(real) - f(-fake)

    def generator(params: Players) -> Array:
        _, fake, _ = logits(params)
        return f(-fake)

    return {"generator": generator, "discriminator": discriminator}


def _ravel(params: Players) -> tuple[Array, Callable[[Array], Players]]:
    flat, unravel = ravel_pytree(params)
    if not jnp.issubdtype(flat.dtype, jnp.floating):
        raise InputError(f"The parameters are {flat.dtype}; a Jacobian needs floating ones.")
    return flat.astype(flat.dtype), unravel  # sheds the weak type of Python numbers


def _moved(params: Params, velocity: Params, step_size: float | Array) -> Params:
    return jax.tree.map(lambda x, v: x + step_size * v, params, velocity)
