"""Control of what a generator makes, by its latents and styles.

Pure functions of arrays and callables. Letters: z f32[B, Z] are latents, w f32[B, D] the styles that a mapping network
makes of them, ws f32[B, L, D] a style for each of the L layers of a synthesis network, which is a callable
``synthesise: ws -> images f32[B, H, W, C]``. `jaxgan.nn.StyleGenerator` has both networks; nothing here depends on it
but the names of parameters in `sefa`.

Functions that take ``layers`` change these layers alone, and None stands for all of them; `layer_range` finds them by
name.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxgan.errors import InputError, closest
from jaxgan.typing import Array, Key, Params

# (images f32[B, H, W, C], targets of the same shape) -> f32[B], small where they look alike
Distance: TypeAlias = Callable[[Array, Array], Array]


# Layers.


def layer_range(name: str, resolutions: Sequence[int]) -> range:
    """The layers that a name stands for.

    Args:
      name: "all"; "coarse", "middle" or "fine", which split the resolutions as Karras et al. 2019
        (https://arxiv.org/abs/1812.04948) split the nine from 4 to 1024 pixels, 2 : 2 : 5, with numbers rounded up for
        smaller images: up to 8, 32 and 256 pixels at 256, and 4, 8 and 32 at 32; or numbers, "5" or "4-7", both ends
        included.
      resolutions: pixels a side by layer, ascending: `StyleGenerator.resolutions`.

    Raises:
      InputError: for another name, and layers that do not exist.

    >>> layer_range("coarse", (4, 8, 8, 16, 16, 16))
    range(0, 1)
    >>> layer_range("1-2", (4, 8, 8, 16, 16, 16))
    range(1, 3)
    """
    n = len(resolutions)
    if numbers := re.fullmatch(r"(\d+)(?:-(\d+))?", name):
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if not first <= last < n:
            raise InputError(f"There are no layers {name!r} of {n}. Allowed: 0 to {n - 1}, the lower number first.")
        return range(first, last + 1)
    sides = sorted(set(resolutions))
    # Resolutions 0 to a - 1 of n are coarse, a to b - 1 middle.
    a, b = (-(-len(sides) * share // 9) for share in (2, 4))
    groups = {"all": sides, "coarse": sides[:a], "middle": sides[a:b], "fine": sides[b:]}
    if name not in groups:
        raise InputError(
            f"There are no layers {name!r}. {closest(name, groups)} Or numbers from 0 to {n - 1}: 0-{n // 2}."
        )
    chosen = [i for i, side in enumerate(resolutions) if side in groups[name]]
    if not chosen:
        raise InputError(f"Images of {sides[-1]} pixels have no {name} layers. Name numbers from 0 to {n - 1}.")
    return range(chosen[0], chosen[-1] + 1)


def broadcast(w: Array, layers: int) -> Array:
    """One style for all layers: f32[..., D] -> f32[..., layers, D]."""
    return jnp.broadcast_to(w[..., None, :], (*w.shape[:-1], layers, w.shape[-1]))


def truncate(ws: Array, w_avg: Array, psi: float | Array, layers: Sequence[int] | None = None) -> Array:
    """The truncation trick in W (Karras et al. 2019, https://arxiv.org/abs/1812.04948, appendix B).

    Styles move to ``w_avg + psi * (ws - w_avg)``: images vary less, and those far from the data become rare.

    Args:
      ws: f32[..., L, D].
      w_avg: f32[D], the mean style.
      psi: 1 leaves styles as they are, 0 makes all of them the mean; an array is broadcast to ws.
      layers: which are truncated; those below a cutoff k are ``range(k)``.

    Returns:
      f32[..., L, D].

    Raises:
      InputError: for layers that do not exist.

    >>> ws = truncate(ws, w_avg, 0.7)  # doctest: +SKIP
    """
    return jnp.where(_mask(layers, ws), w_avg + psi * (ws - w_avg), ws)


def mix(ws: Array, other: Array, layers: Sequence[int] | None) -> Array:
    """Style mixing: the styles of ``other`` in some layers, those of ``ws`` in the rest.

    Args:
      ws: f32[..., L, D].
      other: f32[..., L, D]; the axes before the layers are broadcast: ``mix(ws[:, None], other[None], layers)`` is a
        table of all pairs.
      layers: where the other's styles are taken.

    Returns:
      f32[..., L, D].

    Raises:
      InputError: for layers that do not exist.

    >>> ws = mix(ws, other, layer_range("coarse", generator.resolutions))  # doctest: +SKIP
    """
    return jnp.where(_mask(layers, ws), other, ws)


def move(ws: Array, direction: Array, amounts: Sequence[float] | Array, layers: Sequence[int] | None = None) -> Array:
    """Styles at several distances along a direction.

    Args:
      ws: f32[B, L, D].
      direction: f32[D].
      amounts: f32[N], which the direction is multiplied by.
      layers: which move.

    Returns:
      f32[B, N, L, D].

    Raises:
      InputError: for layers that do not exist.

    >>> strip = move(ws, direction, [-2.0, 0.0, 2.0])  # doctest: +SKIP
    """
    steps = jnp.asarray(amounts)[:, None, None] * direction
    return ws[:, None] + jnp.where(_mask(layers, ws), steps, 0)


def _mask(layers: Sequence[int] | None, ws: Array) -> np.ndarray:
    """bool[L, 1], true for these layers."""
    n = ws.shape[-2]
    if layers is None:
        return np.ones((n, 1), bool)
    _check_layers(layers, n)
    return np.isin(np.arange(n), list(layers))[:, None]


def _check_layers(layers: Sequence[int], n: int) -> None:
    if outside := [layer for layer in layers if not 0 <= layer < n]:
        raise InputError(f"There is no layer {outside[0]} of {n}. Allowed: 0 to {n - 1}.")


# Ways between latents.


def lerp(a: Array, b: Array, t: float | Array) -> Array:
    """The straight way from a to b, for styles; t f32 that broadcasts to them, 0 to 1."""
    return (1 - t) * a + t * b


def slerp(a: Array, b: Array, t: float | Array) -> Array:
    """The way from a to b around the origin, for Gaussian latents (White 2016, https://arxiv.org/abs/1609.04468).

    In many dimensions such latents lie close to a sphere, which a straight way leaves.

    Args:
      a: f32[..., Z].
      b: f32[..., Z]. Directions move along a great circle, norms linearly.
      t: 0 to 1; an array has the axes of a and b before the last.

    Returns:
      f32[..., Z]; NaN between exact opposites, which no single shortest way joins.

    >>> slerp(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), 0.5)
    Array([0.70710677, 0.70710677], dtype=float32)
    """
    t = jnp.asarray(t)[..., None]
    a_norm, b_norm = _norm(a), _norm(b)
    u, v = a / a_norm, b / b_norm
    # Half of the angle between them; unlike arccos, accurate at every angle.
    half = jnp.arctan2(_norm(v - u), _norm(v + u))
    middle, across = (v + u) / _norm(v + u), (v - u) / jnp.maximum(_norm(v - u), 1e-30)  # orthogonal unit vectors
    turn = (2 * t - 1) * half
    return lerp(a_norm, b_norm, t) * (jnp.cos(turn) * middle + jnp.sin(turn) * across)


def _norm(x: Array) -> Array:
    return jnp.linalg.norm(x, axis=-1, keepdims=True)


def path(keyframes: Array, steps: int, *, loop: bool = True) -> Array:
    """A smooth way through keyframes, for videos: a Catmull-Rom spline, whose velocity is continuous.

    Args:
      keyframes: f32[K, ...], K >= 2, of whatever is interpolated.
      steps: frames from one keyframe to the next.
      loop: goes on to the first keyframe, so that the video has no seam.

    Returns:
      f32[K * steps, ...]; frame ``i * steps`` is keyframe i. Without loop f32[(K - 1) * steps + 1, ...].

    Raises:
      InputError: for fewer keyframes or steps.

    >>> path(jnp.array([0.0, 1.0, 2.0]), 2, loop=False)
    Array([0. , 0.5, 1. , 1.5, 2. ], dtype=float32)
    """
    if len(keyframes) < 2 or steps < 1:
        raise InputError(f"path() got {len(keyframes)} keyframes and steps={steps}; it takes at least 2 and 1.")
    points = jnp.concatenate([keyframes[-1:], keyframes, keyframes[:2]]) if loop else keyframes
    slopes = cast(Array, jnp.gradient(points, axis=0))  # central, and one-sided at the ends
    if loop:
        points, slopes = points[1:-1], slopes[1:-1]
    t = jnp.linspace(0, 1, steps, endpoint=False).reshape(-1, *(1,) * (keyframes.ndim - 1))
    points, slopes = points[:, None], slopes[:, None]
    a, b, from_a, to_b = points[:-1], points[1:], slopes[:-1], slopes[1:]
    # Hermite's cubic with these ends and slopes.
    frames = lerp(a, b, t**2 * (3 - 2 * t)) + t * (1 - t) * ((1 - t) * from_a - t * to_b)
    frames = frames.reshape(-1, *keyframes.shape[1:])
    return frames if loop else jnp.concatenate([frames, b[-1]])


# Directions.


def sefa(params: Params, layers: Sequence[int] | None = None, count: int = 8) -> tuple[Array, Array]:
    """Directions that change the styles most, in closed form (Shen & Zhou 2021, https://arxiv.org/abs/2007.06600).

    The first eigenvectors of ``A^T A``, where A stacks the matrices that map w to the scales of the channels. The
    paper's code scales the rows of A to unit length; here they are those of the network.

    Args:
      params: of a `StyleGenerator`.
      layers: whose matrices are stacked.
      count: how many directions, at most D.

    Returns:
      Unit vectors f32[count, D], the entry of largest magnitude positive, and their eigenvalues f32[count], largest
      first: the squared change of all channels' scales by a unit step.

    Raises:
      InputError: for layers that do not exist, and another count.

    >>> directions, _ = sefa(variables["params"], layer_range("coarse", generator.resolutions))  # doctest: +SKIP
    """
    synthesis = params["synthesis"]
    # A layer to colours shares the style of the convolution that follows it, or is the last of all.
    matrices = {int(name.removeprefix("conv_")): [] for name in synthesis if name.startswith("conv_")}
    matrices[len(matrices)] = []
    for name, parts in synthesis.items():
        kind, _, k = name.rpartition("_")
        if kind in ("conv", "to_rgb"):
            kernel = parts["style"]["kernel"]  # [D, channels]
            scale = kernel.shape[0] if kind == "conv" else kernel.shape[0] * kernel.shape[1]
            matrices[int(k) + (kind == "to_rgb")].append(kernel / np.sqrt(scale))
    chosen = range(len(matrices)) if layers is None else layers
    _check_layers(chosen, len(matrices))
    stacked = jnp.concatenate([matrix for layer in chosen for matrix in matrices[layer]], axis=1)
    if not 1 <= count <= len(stacked):
        raise InputError(f"count is {count}; styles of {len(stacked)} dimensions have 1 to {len(stacked)} directions.")
    values, vectors = jnp.linalg.eigh(jnp.matmul(stacked, stacked.T, precision="highest"))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count].T
    largest = jnp.take_along_axis(vectors, jnp.argmax(jnp.abs(vectors), axis=1, keepdims=True), axis=1)
    return vectors * jnp.sign(largest), values


def direction(w: Array, scores: Array | np.ndarray, *, ridge: float | Array = 0.01) -> Array:
    """The direction in which an attribute grows: the normal of a linear regression.

    For scores of two values this is Fisher's linear discriminant of the two classes.

    Args:
      w: f32[N, D].
      scores: f32[N] or i32[N] or bool[N]: what was measured on the images of w.
      ridge: of the regression, as a share of the mean variance of w.

    Returns:
      f32[D], a unit vector.

    Raises:
      InputError: for other shapes, a number of w and scores that differ, and, where values are known, scores that do
        not vary or are not finite.

    >>> normal = direction(w, slant(images))  # doctest: +SKIP
    """
    if w.ndim != 2 or jnp.shape(scores) != w.shape[:1]:
        raise InputError(
            f"direction() got w {list(w.shape)} and scores {list(jnp.shape(scores))}. It takes f32[N, D] and f32[N]."
        )
    y = jnp.asarray(scores, jnp.float32)
    if not isinstance(y, Tracer) and not 0 < np.ptp(np.asarray(y)) < np.inf:
        raise InputError(
            f"The scores of {len(y)} styles lie between {jnp.min(y)} and {jnp.max(y)}: no direction explains them. "
            "Take more samples, or another attribute."
        )
    x, y = w - jnp.mean(w, axis=0), y - jnp.mean(y)
    with jax.default_matmul_precision("highest"):
        covariance = x.T @ x
        penalty = ridge * jnp.trace(covariance) / w.shape[1] * jnp.eye(w.shape[1])
        normal = jax.scipy.linalg.solve(covariance + penalty, x.T @ y, assume_a="pos")
    return normal / jnp.linalg.norm(normal)


def steepest(attribute: Callable[[Array], Array], ws: Array, layers: Sequence[int] | None = None) -> Array:
    """The direction in which an attribute that can be differentiated grows fastest, on average over styles.

    The mean gradient at the layers that are to be moved. For normal styles and all layers its expectation is the normal
    of the regression that `direction` fits (Stein's lemma); here the layers are told apart, and few styles are enough.

    Args:
      attribute: ``ws f32[N, L, D] -> f32[N]``, each of its own styles: what is measured on the images of them.
      ws: f32[N, L, D].
      layers: which will move.

    Returns:
      f32[D], a unit vector; NaN where the attribute does not depend on these layers.

    Raises:
      InputError: for layers that do not exist.

    >>> normal = steepest(lambda ws: slant(synthesise(ws)), ws, range(4, 8))  # doctest: +SKIP
    """
    gradient = jax.grad(lambda ws: jnp.sum(attribute(ws)))(ws)
    mean = jnp.mean(jnp.sum(gradient * _mask(layers, ws), axis=1), axis=0)
    return mean / jnp.linalg.norm(mean)


def orthogonalise(direction: Array, others: Array) -> Array:
    """What is left of a direction that others have no part in, so that an edit leaves their attributes as they are.

    Args:
      direction: f32[D].
      others: f32[K, D], which need not be orthogonal.

    Returns:
      f32[D], a unit vector orthogonal to all others.

    Raises:
      InputError: where values are known, if the others span the direction.

    >>> orthogonalise(jnp.array([0.6, 0.8]), jnp.array([[1.0, 0.0]]))
    Array([0., 1.], dtype=float32)
    """
    with jax.default_matmul_precision("highest"):
        shares, *_ = jnp.linalg.lstsq(others.T, direction)
        left = direction - shares @ others
    length = jnp.linalg.norm(left)
    if not isinstance(length, Tracer) and not length > 1e-4 * jnp.linalg.norm(direction):
        raise InputError(f"Nothing is left of the direction: the {len(others)} others span it. Leave some of them out.")
    return left / length


# Attributes that need no labels, of light strokes on a dark ground.


def slant(images: Array) -> Array:
    """How far strokes lean to the right: columns for each row upwards, from second moments of the ink.

    Args:
      images: f[B, H, W, C] in [-1, 1], ink at 1.

    Returns:
      f32[B]; 0 for images without ink, or with ink in one row.
    """
    ink = _ink(images)
    y, x = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in ink.shape[1:]), indexing="ij")

    def mean(values: Array) -> Array:
        return jnp.sum(ink * values, (1, 2), keepdims=True) / jnp.maximum(jnp.sum(ink, (1, 2), keepdims=True), 1e-6)

    x, y = x - mean(x), mean(y) - y
    return (mean(x * y) / jnp.maximum(mean(y * y), 1e-6))[:, 0, 0]


def thickness(images: Array) -> Array:
    """How thick strokes are, in pixels: twice the area over the outline's length.

    The outline is the total variation of the ink, so that blurred edges count as sharp ones do.

    Args:
      images: f[B, H, W, C] in [-1, 1], ink at 1.

    Returns:
      f32[B]; a bar of t by l pixels has t l / (t + l). 0 for images without ink.
    """
    ink = jnp.pad(_ink(images), [(0, 0), (1, 1), (1, 1)])
    down, right = jnp.diff(ink, axis=1)[:, :, :-1], jnp.diff(ink, axis=2)[:, :-1]
    outline = jnp.sum(jnp.sqrt(jnp.square(down) + jnp.square(right) + 1e-12), (1, 2))
    return 2 * jnp.sum(ink, (1, 2)) / jnp.maximum(outline, 1e-6)


def _ink(images: Array) -> Array:
    """f32[B, H, W] in [0, 1]."""
    return jnp.mean((jnp.clip(images.astype(jnp.float32), -1, 1) + 1) / 2, axis=-1)


# Projection.


class Projection(NamedTuple):
    """What `project` found.

    Attributes:
      ws: f32[B, L, D], the styles.
      losses: f32[steps, B], the distance of each image on the way there, while styles are still noisy.
      images: f32[B, H, W, C], what is made of the styles.
    """

    ws: Array
    losses: Array
    images: Array


def pyramid(images: Array, targets: Array) -> Array:
    """The distance of images: mean squares of their difference, added up over scales.

    Args:
      images: f[B, H, W, C].
      targets: of the same shape.

    Returns:
      f32[B]. Each scale is the mean over 2 by 2 pixels of the one before, down to an odd side or 4 pixels. Coarse ones
      tell where to go while fine ones still see nothing but misplaced edges.
    """
    left = images.astype(jnp.float32) - targets
    total = jnp.mean(jnp.square(left), (1, 2, 3))
    while left.shape[1] % 2 == left.shape[2] % 2 == 0 and min(left.shape[1:3]) > 4:
        b, h, w, c = left.shape
        left = jnp.mean(left.reshape(b, h // 2, 2, w // 2, 2, c), (2, 4))
        total += jnp.mean(jnp.square(left), (1, 2, 3))
    return total


def project(
    images: Array,
    synthesise: Callable[[Array], Array],
    w_avg: Array,
    w_std: float | Array,
    key: Key,
    *,
    layers: int,
    steps: int = 1000,
    per_layer: bool = False,
    distance: Distance = pyramid,
    learning_rate: float | Array = 0.1,
    noise: float | Array = 0.05,
) -> Projection:
    """Finds the styles that make given images, as Karras et al. 2020 do (https://arxiv.org/abs/1912.04958, appendix D).

    Adam from the mean style on, its rate ramped up over the first 5 % of the steps and down with a cosine over the
    last 25 %; for three quarters of the way the style is disturbed by noise that falls quadratically, which lets the
    search leave bad places. Images do not influence each other. The noise inputs of the generator stay as they are.

    Args:
      images: f32[B, H, W, C] in [-1, 1].
      synthesise: ``ws f32[B, L, D] -> f32[B, H, W, C]``, differentiable, without randomness.
      w_avg: f32[D], the mean style.
      w_std: the root of the mean squared distance of styles from it.
      key: of the noise.
      layers: L.
      steps: of Adam.
      per_layer: finds a style for each layer (W+): closer to the image, further from what the generator knows.
      distance: `pyramid`, or another, such as one between features of a network (LPIPS in the paper).
      learning_rate: the highest.
      noise: standard deviation of the noise at the start, as a share of w_std.

    Raises:
      InputError: for images of another size than the generator's, steps below 1, and distances that are not f32[B].

    >>> found = jax.jit(lambda x, key: project(x, synthesise, w_avg, w_std, key, layers=8))(x, key)  # doctest: +SKIP
    """
    b, d = len(images), w_avg.shape[-1]
    made = jax.eval_shape(synthesise, jax.ShapeDtypeStruct((b, layers, d), jnp.float32))
    if made.shape != images.shape:
        raise InputError(
            f"The images are {list(images.shape)}, and the generator makes {list(made.shape)}. Resize the images to "
            f"{made.shape[1]} x {made.shape[2]} pixels of {made.shape[3]} channels."
        )
    if jax.eval_shape(distance, made, images).shape != (b,):
        raise InputError(f"The distance gives no f32[{b}]. It takes two batches of images and gives a number for each.")
    if steps < 1:
        raise InputError(f"steps is {steps}; a projection takes at least one.")

    def rate(step: ArrayLike) -> Array:
        t = jnp.asarray(step) / steps
        return learning_rate * jnp.minimum(1, t / 0.05) * (1 - jnp.cos(jnp.pi * jnp.minimum(1, (1 - t) / 0.25))) / 2

    def spread(w: Array) -> Array:
        return jnp.broadcast_to(w, (b, layers, d))

    def loss(w: Array, disturbance: Array) -> tuple[Array, Array]:
        each = distance(synthesise(spread(w + disturbance)), images)
        return jnp.sum(each), each

    def descend(carry: tuple, xs: tuple[Array, Key]) -> tuple[tuple, Array]:
        w, opt_state = carry
        step, k = xs
        std = noise * w_std * jnp.square(jnp.maximum(0, 1 - step / (0.75 * steps)))
        grads, each = jax.grad(loss, has_aux=True)(w, std * jax.random.normal(k, w.shape))
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(w, updates), opt_state), each

    tx = optax.adam(rate)
    start = jnp.broadcast_to(w_avg, (b, layers if per_layer else 1, d)).astype(jnp.float32)
    xs = jnp.arange(steps), jax.random.split(key, steps)
    (w, _), losses = jax.lax.scan(descend, (start, tx.init(start)), xs)
    ws = spread(w)
    return Projection(ws, losses, synthesise(ws))
