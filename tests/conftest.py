"""What all tests share: eight CPU devices, keys used once, and where the real data is."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
if "slow" not in sys.argv and "PYTEST_XDIST_WORKER" not in os.environ:
    # The tests compile for longer than they compute, unless they train for minutes. Workers inherit what is set here.
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Many tests compile the same programs: those of this session are compiled once, for all its processes. The folder is
# named before JAX is imported, and by the first process of the session: the others inherit it.
COMPILED = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp(prefix="jaxgan-tests-")
if COMPILED:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax  # noqa: E402
import pytest  # noqa: E402

from jaxgan.tuning import tune  # noqa: E402

tune()  # as the command line does: what it trains in a process of its own has the same bits
jax.config.update("jax_debug_key_reuse", True)

# Files that compile for minutes come first: a process that began one last would keep all others waiting.
LONG = {
    "test_stylegan2_recipe", "test_stylegan2", "test_games_recipes", "test_faults", "test_exact_resume", "test_finite",
    "test_cli", "test_train", "test_cyclegan", "test_gan", "test_translate", "test_bad_input", "test_collapse",
    "test_notebooks",
}  # fmt: skip


def pytest_sessionfinish() -> None:
    if COMPILED:
        shutil.rmtree(COMPILED, ignore_errors=True)


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
