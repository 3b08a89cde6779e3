"""The benchmark of modes: each member is the GAN that a run would be, and what it prints is what it counted."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxgan.cli import main
from jaxgan.config import GANConfig
from jaxgan.errors import InputError
from jaxgan.modes import BENCHMARKS, METHODS, measure, method
from jaxgan.train import keys, train

TINY = {"width": 4, "depth": 1, "batch": 8, "steps": 3, "decay_steps": 3}


@pytest.mark.long
def test_a_member_is_the_run_of_its_seed(no_key_checks, tmp_path, monkeypatch):
    """The samples that are counted are those that the trained state of ``jaxgan train --seed`` draws."""
    seen = []
    monkeypatch.setattr("jaxgan.modes.modes", lambda points, *_: seen.append(np.asarray(points)))
    config = GANConfig(data="grid", network="mlp", latent_dim=2, d_steps=2, samples=16, **TINY)
    measure(config, [4, 7])
    for seed, points in zip((4, 7), seen, strict=True):
        one = dataclasses.replace(config, seed=seed)
        state = train(one, tmp_path / str(seed), quiet=True)
        expected = one.build((2,), 25).sample(state, keys(one)[2], 2500)
        np.testing.assert_allclose(points, expected, rtol=1e-3, atol=1e-4)


def test_points_that_are_not_finite_cover_nothing(no_key_checks, monkeypatch):
    config = dataclasses.replace(method("ring", "gan"), **TINY, g_lr=1e38, optimizer="sgd")
    (found,) = measure(config, [0])
    assert found == (0, 0.0, pytest.approx(np.log(8)))


def test_methods_are_configurations():
    for benchmark, base in BENCHMARKS.items():
        for name, fields in METHODS.items():
            config = method(benchmark, name, steps=7)
            assert (config.data, config.steps, config.decay_steps, config.batch) == (benchmark, 7, 7, base.batch)
            assert not [field for field in fields if getattr(base, field) == getattr(config, field)], name
            g = config.build((2,), None)
            jax.eval_shape(g.init, jax.random.key(0))
    with pytest.raises(InputError, match=r"no method 'packgan2'\. Did you mean 'pacgan2'"):
        method("ring", "packgan2")
    with pytest.raises(InputError, match="'digits' has no known modes"):
        measure(GANConfig(), [0])


def test_the_command_writes_what_it_counted(no_key_checks, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "ring", dataclasses.replace(BENCHMARKS["ring"], **TINY))
    out = tmp_path / "made" / "ring.json"
    main(["modes", "ring", "--methods", "gan, pacgan2", "--seeds", "2", "--first-seed", "5", "--out", str(out)])
    found = json.loads(out.read_text())
    assert (found["benchmark"], found["seeds"], found["samples"]) == ("ring", [5, 6], 2500)
    assert list(found["methods"]) == ["gan", "pacgan2"]
    config = method("ring", "pacgan2")
    assert found["methods"]["pacgan2"]["config"] == config.as_data()
    expected = measure(config, [5, 6])
    assert found["methods"]["pacgan2"]["high_quality"] == [each.high_quality for each in expected]
    printed = capsys.readouterr().out
    assert f"{np.mean([each.reverse_kl for each in expected]):.3g}" in printed
