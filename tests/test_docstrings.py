"""The examples in docstrings do what they say, but for those that are marked as a part of something larger."""

import doctest
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxgan

MODULES = [found.name for found in pkgutil.walk_packages(jaxgan.__path__, "jaxgan.")]
USUAL = {"jax": jax, "jnp": jnp, "np": np, "optax": optax}


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in MODULES]
    found = [test for module in modules for test in finder.find(module, extraglobs=USUAL)]
    return [test for test in found if any(not example.options.get(doctest.SKIP) for example in test.examples)]


EXAMPLES = {test.name: test for test in examples()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name, capsys):
    with jax.debug_key_reuse(False):  # each stands for a session of its own
        failed, _ = doctest.DocTestRunner().run(EXAMPLES[name])
    assert not failed, capsys.readouterr().out
