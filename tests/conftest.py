"""What all tests share: eight CPU devices, keys used once, and where the real data is."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_debug_key_reuse", True)

# Files that compile for minutes come first: a process that began one last would keep all others waiting.
LONG = {f"test_{name}" for name in ("stylegan2_recipe", "stylegan2", "cli", "train", "cyclegan", "gan", "translate")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of prepared tfds data sets; tests that need it are skipped where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "tfds"
    path = Path(os.environ.get("JAXGAN_DATA", beside))
    if not (path / "mnist").is_dir():
        pytest.skip(f"no prepared mnist in {path}: set JAXGAN_DATA to a folder of tfds data sets")
    return path


@pytest.fixture
def no_key_checks():
    """The checker takes a scan over split keys for a second use of them where the keys are batched."""
    jax.config.update("jax_debug_key_reuse", False)
    yield
    jax.config.update("jax_debug_key_reuse", True)
