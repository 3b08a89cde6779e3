"""Steps that are not finite: found, named, and kept out of the state and of every checkpoint."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data, integrity, parallel
from jaxgan import train as trainer
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import GANConfig
from jaxgan.data.order import batch_indices
from jaxgan.errors import RunError
from jaxgan.finite import check, origin
from jaxgan.runlog import read
from jaxgan.state import TrainState
from jaxgan.sweep import sweep
from jaxgan.turns import descend

TINY = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=12, log_every=4, sample_every=100,
    save_every=5, samples=4,
)  # fmt: skip
BAD = 7  # the step that is not finite


def train(config, run, **options):
    return trainer.train(config, run, engine=parallel.jit(), quiet=True, **options)


@jax.custom_vjp
def spoil_gradient(x, hit):
    return x


spoil_gradient.defvjp(lambda x, hit: (x, hit), lambda hit, g: (jnp.where(hit, jnp.nan, g), None))


def poison(monkeypatch, player, place, chance=1.0):
    """Makes the loss, or its gradient alone, NaN at one step, with a chance that the step's key decides."""

    def poisoned(name, loss, tx, **options):
        def bad(params, state, batch, key):
            value, aux = loss(params, state, batch, jax.random.clone(key))
            hit = (state.step == BAD) & (jax.random.uniform(jax.random.fold_in(key, 99)) < chance)
            return (jnp.where(hit, jnp.inf, value) if place == "loss" else spoil_gradient(value, hit)), aux

        return descend(name, bad if name == player else loss, tx, **options)

    monkeypatch.setattr(sys.modules["jaxgan.recipes.gan"], "descend", poisoned)


def digest(run, step):
    """Of the state of a checkpoint, but for the number of the step."""
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert checkpoints.faults(step) == []
        return {k: v for k, v in checkpoints.about(step)["digests"]["state"].items() if k != ".step"}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The state before the bad step, of a run in which nothing is wrong."""
    run = tmp_path_factory.mktemp("finite") / "run"
    train(dataclasses.replace(TINY, steps=BAD), run)
    return digest(run, BAD)


@functools.cache
def broken_digits():
    """The digits, of which one image is NaN that first comes in the batch of step BAD; and how many of them."""
    digits = data.load("digits")
    image = digits.read(np.arange(digits.size))["image"].astype(np.float32) / 127.5 - 1
    first = [int(i) for i in batch_indices(0, BAD, TINY.batch, digits.size)]
    image[first[3]] = np.nan
    return data.Source("broken", digits.shape, digits.size, None, lambda i: {"image": image[i]})


PLACES = {
    "data": ("the data is not finite (['image']: 6.25% of the examples)", None),
    "discriminator's gradient": ("the gradient of discriminator_loss has the norm nan", ("discriminator", "gradient")),
    "generator's gradient": ("the gradient of generator_loss has the norm nan", ("generator", "gradient")),
    "loss": ("generator_loss is inf", ("generator", "loss")),
}


# One policy a place; the others take as long again.
QUICK = dict(zip(PLACES, ("rollback", "skip", "halt", "skip"), strict=True))
CASES = [
    pytest.param(place, policy, marks=[] if QUICK[place] == policy else pytest.mark.slow)
    for place in PLACES
    for policy in ("halt", "skip", "rollback")
]


@pytest.mark.parametrize(("place", "policy"), CASES)
def test_a_step_that_is_not_finite(before, tmp_path, monkeypatch, place, policy):
    words, target = PLACES[place]
    if target:
        poison(monkeypatch, *target)
    source = None if target else broken_digits()
    config, run = dataclasses.replace(TINY, on_nonfinite=policy), tmp_path / "run"
    words = f"Step {BAD} is not finite: {words}"
    if policy == "skip":
        state = train(config, run, source=source)
        assert state.step == 12 and integrity.not_finite(jax.device_get(state)) == []
        rows = read(run / "metrics.jsonl")
        assert [row["skipped"] for row in rows] == [0, 0.25, 0]
        assert all(np.isfinite(value) for row in rows for value in row.values())
        short = tmp_path / "short"
        train(dataclasses.replace(config, steps=BAD + 1), short, source=source)
        skipped = digest(short, BAD + 1)
        assert target is None or skipped == before  # the broken data are floats from the start: other roundings
    else:
        with pytest.raises(RunError) as error:
            train(config, run, source=source)
        assert words in str(error.value) and "--on-nonfinite skip" in str(error.value)
        assert ("gone back 3 times" in str(error.value)) == (policy == "rollback")
        with Checkpoints(run / "checkpoints") as checkpoints:
            assert checkpoints.steps() == [5, BAD]  # nothing is lost, nothing bad is kept
        assert policy == "rollback" or target is None or digest(run, BAD) == before
    events = read(run / "events.jsonl")
    assert words in events[0]["text"]
    kinds = [event["event"] for event in events]
    assert kinds == {"halt": ["halt"], "skip": ["skip"], "rollback": ["rollback"] * 3 + ["halt"]}[policy]


@pytest.mark.long
def test_going_back_tries_other_random_numbers_and_resumes_to_the_bit(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, "generator", "loss", chance=0.7)
    config = dataclasses.replace(TINY, on_nonfinite="rollback", seed=7)
    whole = tmp_path / "whole"
    train(config, whole)
    events = read(whole / "events.jsonl")
    assert 1 <= len(events) <= 3 and all(e["event"] == "rollback" and "from step 5" in e["text"] for e in events)
    assert [row["step"] for row in read(whole / "metrics.jsonl")] == [4, 8, 12]
    cut = tmp_path / "cut"
    train(dataclasses.replace(config, steps=10), cut)
    train(config, cut, resume=True)
    assert digest(cut, 12) == digest(whole, 12)
    monkeypatch.undo()
    train(dataclasses.replace(TINY, seed=7), tmp_path / "fine")
    assert digest(tmp_path / "fine", 12) != digest(whole, 12)


def test_a_run_in_which_every_step_is_bad_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SKIPS", 5)
    source = broken_digits()._replace(read=lambda i: {"image": np.full((len(i), 8, 8, 1), np.nan, np.float32)})
    with pytest.raises(RunError, match="the 6th in a row"):
        train(dataclasses.replace(TINY, on_nonfinite="skip"), tmp_path / "run", source=source)


@pytest.mark.long
def test_one_member_of_a_sweep_does_not_harm_the_others(tmp_path, no_key_checks):
    config = dataclasses.replace(TINY, steps=8)
    good, bad = sweep(config, tmp_path / "two", values={"g_lr": (1e-3, 1e38)}, devices=1, quiet=True)
    (alone,) = sweep(config, tmp_path / "one", values={"g_lr": (1e-3,)}, devices=1, quiet=True)
    last = read(bad / "metrics.jsonl")[-1]
    assert last["skipped"] > 0
    assert read(good / "metrics.jsonl")[-1]["skipped"] == 0
    for run in (good, bad):
        assert digest(run, 8)  # it could be saved: all is finite
    mine, its = (read(run / "metrics.jsonl")[-1] for run in (good, alone))
    np.testing.assert_allclose(mine["generator_loss"], its["generator_loss"], rtol=1e-5)


def found(metrics, weight=1.0):
    params = {"generator": {"w": jnp.array([weight, 2.0])}}
    state = TrainState(jnp.array(3), params, {}, {}, {"count": jnp.array(1)}, {"generator": jnp.array(jnp.nan)})
    return jax.device_get(check(state, {k: jnp.asarray(v) for k, v in metrics.items()}))


def test_the_origin_is_the_first_place():
    """First in the order of the turns: sorted by name, the first turn of a CycleGAN, the generators', would be last."""
    fine = {"g_loss": 1.0, "gradient_norm/g_loss": 3.0, "d_loss": 1.0, "gradient_norm/d_loss": 2.0, "real_logit": 0.5}
    assert found(fine).ok  # of the average nothing is asked: it follows the parameters
    every = dict.fromkeys(fine, jnp.nan)
    assert not found(every).ok
    assert origin(found(every), {}) == "g_loss is nan"
    assert origin(found(every | {"g_loss": 1.25}), {}) == (
        "the gradient of g_loss has the norm nan, while g_loss itself is 1.25"
    )
    assert origin(found(fine | {"d_loss": jnp.inf, "gradient_norm/d_loss": jnp.nan}), {}) == "d_loss is inf"
    assert origin(found(fine | {"real_logit": -jnp.inf}), {}) == "real_logit is -inf"
    assert "['generator']['w'] infinite or NaN" in origin(found(fine, jnp.inf), {})
    assert "the data is not finite (['image']: 50.00%" in origin(found(every), {"['image']": 0.5, "['label']": 0.0})
