"""What a configuration says of the game is what the recipe is given."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from jaxgan.config import GANConfig, StyleGAN2Config, float_fields, from_data
from jaxgan.games import Lookahead, consensus, extragradient, symplectic, unrolled
from jaxgan.nn import MLPDiscriminator, MLPGenerator
from jaxgan.recipes import gan, stylegan2
from jaxgan.sweep import sweep

BATCH = {"image": np.asarray(jax.random.normal(jax.random.key(7), (8, 2)))}
FIELDS = {"network": "mlp", "data": "ring", "width": 4, "depth": 1, "latent_dim": 3, "batch": 8, "g_lr": 0.1}
NETWORKS = MLPGenerator((2,), 4, 1, None), MLPDiscriminator(4, 1)


def adam(rate):
    return optax.adam(rate, 0.5, 0.999)


ASKED = {
    "simultaneous": ({"rule": "simultaneous"}, {"simultaneous": True}, adam),
    "extragradient": ({"rule": "extragradient"}, {"rule": extragradient}, adam),
    "consensus": ({"rule": "consensus"}, {"rule": consensus}, adam),
    "consensus, weighed": (
        {"rule": "consensus", "rule_weight": 0.3},
        {"rule": partial(consensus, weight=0.3)},
        adam,
    ),
    "symplectic": ({"rule": "symplectic", "rule_weight": 0.3}, {"rule": partial(symplectic, weight=0.3)}, adam),
    "unrolled": ({"rule": "unrolled", "rule_steps": 2}, {"rule": partial(unrolled, steps=2)}, adam),
    "lookahead": ({"lookahead": 2}, {"lookahead": Lookahead(2)}, adam),
    "lookahead, shared": ({"lookahead": 2, "lookahead_alpha": 0.2}, {"lookahead": Lookahead(2, 0.2)}, adam),
    "optimistic": (
        {"optimizer": "optimistic_adam"},
        {},
        lambda rate: optax.optimistic_adam_v2(rate, b1=0.5, nesterov=False),
    ),
    "negative momentum": ({"b1": -0.3}, {}, lambda rate: optax.adam(rate, -0.3)),
    "negative momentum of sgd": ({"optimizer": "sgd", "b1": -0.5}, {}, lambda rate: optax.sgd(rate, -0.5)),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_configured_game_is_the_recipes(name):
    """To the bit, over two steps: after the second the players fall back."""
    fields, options, tx = ASKED[name]
    config = from_data(GANConfig(**FIELDS, **fields).as_data(), "test")  # what config.json would bring back
    assert isinstance(config, GANConfig)
    expected = gan(*NETWORKS, latent_dim=3, g_tx=tx(0.1), d_tx=tx(2e-4), **options)
    states = []
    for g in (config.build((2,), None), expected):
        state, step = g.init(jax.random.key(0)), jax.jit(g.step)
        for _ in range(2):
            state, _ = step(state, BATCH, jax.random.key(1))
        states.append(state)
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_stylegan2_is_given_the_rule_and_the_lookahead(monkeypatch):
    given = {}
    monkeypatch.setattr("jaxgan.recipes.stylegan2", lambda *_, **options: given.update(options))
    StyleGAN2Config(rule="consensus", rule_weight=2.0, lookahead=7).build((32, 32, 1), None)
    assert given["rule"].func is consensus and given["rule"].keywords == {"weight": 2.0}
    assert given["lookahead"] == Lookahead(7)
    StyleGAN2Config().build((32, 32, 1), None)
    assert given["rule"] is None and given["lookahead"] is None
    assert given.keys() <= stylegan2.__kwdefaults__.keys()


@pytest.mark.long
def test_weights_of_rules_are_swept(tmp_path, no_key_checks):
    """Members of one seed, which differ in the weight alone: without it they move otherwise."""
    config = GANConfig(**FIELDS, rule="consensus", steps=3, samples=4)
    assert {"rule_weight", "lookahead_alpha"} <= set(float_fields(config))
    runs = sweep(config, tmp_path, values={"rule_weight": (0.0, 5.0), "b1": (-0.5, 0.0)}, devices=1, quiet=True)
    losses = [(run / "metrics.jsonl").read_text().split('"generator_loss": ')[1][:8] for run in runs]
    assert len(set(losses)) == 4
