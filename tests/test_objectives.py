"""Every objective is what its paper says, by value and by name."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import losses
from jaxgan.errors import InputError
from jaxgan.objectives import OBJECTIVES, Objective, objective

REAL = jnp.float32([2.0, -1.0, 0.5])
FAKE = jnp.float32([-0.5, 1.5, 3.0])
SLOPE = jnp.float32([[3.0, 0.0], [0.0, 4.0]])  # as an image of 2 x 2; its norm is 5
IMAGES = jnp.ones((3, 2, 2))

# name: (discriminator's loss, generator's loss, penalty of a linear critic with slope of norm 5)
PAPERS = {
    "minimax": (losses.logistic_d, losses.minimax_g, 0.0),
    "non_saturating": (losses.logistic_d, losses.non_saturating_g, 0.0),
    "least_squares": (losses.least_squares_d, losses.least_squares_g, 0.0),
    "hinge": (losses.hinge_d, losses.wasserstein_g, 0.0),
    "wasserstein": (losses.wasserstein_d, losses.wasserstein_g, 0.0),
    "wgan_gp": (losses.wasserstein_d, losses.wasserstein_g, 10 * (5 - 1) ** 2),
    "dragan": (losses.logistic_d, losses.non_saturating_g, 10 * (5 - 1) ** 2),
    "gan_r1": (losses.logistic_d, losses.non_saturating_g, 10 / 2 * 25),
    "relativistic": (losses.relativistic_d, losses.relativistic_g, 0.0),
    "relativistic_average": (
        losses.relativistic_average_d,
        losses.relativistic_average_g,
        0.0,
    ),
    "r3gan": (losses.relativistic_d, losses.relativistic_g, 25 / 2 + 25 / 2),
}


def linear(images):
    return jnp.sum(images * SLOPE, axis=(1, 2))


def penalty_of(game: Objective):
    keys = jax.random.split(jax.random.key(0), max(1, len(game.penalties)))
    return sum(p(linear, IMAGES, -IMAGES, k) for p, k in zip(game.penalties, keys, strict=False))


def test_every_objective_has_a_definition_here():
    assert set(OBJECTIVES) == set(PAPERS)


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_is_what_its_paper_says(name):
    d_loss, g_loss, penalty = PAPERS[name]
    game = objective(name)
    np.testing.assert_allclose(game.d_loss(REAL, FAKE), d_loss(REAL, FAKE))
    np.testing.assert_allclose(game.g_loss(REAL, FAKE), g_loss(REAL, FAKE))
    np.testing.assert_allclose(penalty_of(game), penalty, rtol=1e-5)
    # Of all of them only the WGAN holds its critic to a set.
    params = {"w": jnp.float32([3.0, -0.005])}
    updates, _ = game.constraint.update(jax.tree.map(jnp.zeros_like, params), game.constraint.init(params), params)
    kept = optax.apply_updates(params, updates)["w"]
    expected = [0.01, -0.005] if name == "wasserstein" else params["w"]
    np.testing.assert_allclose(kept, expected, atol=3e-7)


def test_options_reach_losses_penalties_and_constraint():
    smooth = objective("non_saturating", smooth=0.1, smooth_fake=0.2)
    np.testing.assert_allclose(smooth.d_loss(REAL, FAKE), losses.logistic_d(REAL, FAKE, smooth=0.1, smooth_fake=0.2))
    pearson = objective("least_squares", target_fake=-1.0, target=0.0)
    np.testing.assert_allclose(pearson.d_loss(REAL, FAKE), (REAL - 1) ** 2 + (FAKE + 1) ** 2)
    np.testing.assert_allclose(pearson.g_loss(REAL, FAKE), FAKE**2)
    np.testing.assert_allclose(penalty_of(objective("r3gan", gamma=3.0)), 75.0, rtol=1e-5)
    np.testing.assert_allclose(penalty_of(objective("wgan_gp", weight=0.5)), 8.0, rtol=1e-5)
    constraint = objective("wasserstein", clip=0.05).constraint
    params = jnp.float32([3.0])
    updates, _ = constraint.update(jnp.zeros(1), constraint.init(params), params)
    np.testing.assert_allclose(params + updates, 0.05, atol=3e-7)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("wgan_gp", "weight", 2.0), ("r3gan", "gamma", 2.0), ("gan_r1", "gamma", 2.0),
     ("dragan", "weight", 2.0)],
)  # fmt: skip
def test_weights_may_be_swept_by_vmap(name, option, value):
    at = lambda w: penalty_of(objective(name, **{option: w}))  # noqa: E731
    swept = jax.vmap(at)(jnp.float32([0.0, value]))
    np.testing.assert_allclose(swept, jnp.stack([at(0.0), at(value)]), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PAPERS))
def test_names_its_paper_and_its_options(name):
    text = OBJECTIVES[name].__doc__ or ""
    assert "et al." in text or "Jolicoeur-Martineau" in text
    assert all(f"{option}:" in text for option in inspect.signature(OBJECTIVES[name]).parameters)


def test_unknown_name_lists_the_closest():
    with pytest.raises(InputError, match=r"no objective 'wassertein'.*'wasserstein'.*hinge"):
        objective("wassertein")


def test_unknown_option_lists_the_closest():
    with pytest.raises(InputError, match=r"'wgan_gp' has no option 'wieght'.*'weight'"):
        objective("wgan_gp", wieght=1.0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wasserstein", {"clip": 0.0}),
        ("wasserstein", {"clip": -0.01}),
        ("wgan_gp", {"weight": -10.0}),
        ("dragan", {"weight": -1.0}),
        ("dragan", {"std": -1.0}),
        ("gan_r1", {"gamma": -1.0}),
        ("r3gan", {"gamma": float("nan")}),
    ],
)
def test_values_without_meaning_are_refused(name, options):
    with pytest.raises(InputError, match=next(iter(options))):
        objective(name, **options)
