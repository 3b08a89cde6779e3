"""Every Python block of the README runs, in its order, and does what it says."""

import re
from pathlib import Path

import jax
import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_python_blocks():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 4
    names: dict = {}
    with jax.debug_key_reuse(False):  # blocks stand for sessions of their own
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
    assert names["samples"].shape == (16, 8, 8, 1)
    assert np.abs(jax.tree.leaves(names["state"].params["discriminator"])[0]).max() <= np.float32(0.05)
    new, metrics = jax.jit(names["step"])(names["state"], names["feed"].draw(names["images"], 0), names["key"])
    assert new.step == 101 and np.isfinite(metrics["discriminator_loss"])
    assert names["parallel_lines"](0.5).w1 == 0.5


def test_commands_exist():
    from jaxgan.cli import COMMANDS
    from jaxgan.presets import PRESETS

    for command, word in re.findall(r"^jaxgan (\w+)(?: ([\w-]+))?", README, re.MULTILINE):
        assert command in COMMANDS
        assert command != "train" or word in PRESETS
    for preset in PRESETS:
        assert f"`{preset}`" in README, preset
