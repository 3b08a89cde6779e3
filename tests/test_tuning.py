"""Settings of processes, looked at in real ones: what the command line's own process runs with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgan.tuning import ALLOCATOR

LOOK = """
import json, os, sys
from jaxgan import cli
def look(args):
    import jax
    print(json.dumps([os.environ.get("XLA_FLAGS"), os.environ.get("GLIBC_TUNABLES"),
                      jax.config.jax_compilation_cache_dir, sys.argv, os.getpid()]))
cli.COMMANDS["train"] = look
cli.main()
"""


def look(tmp_path, **environment):
    dropped = ("XLA_FLAGS", "GLIBC_TUNABLES", "JAX_COMPILATION_CACHE_DIR")
    kept = {k: v for k, v in os.environ.items() if k not in dropped}
    command = [sys.executable, "-c", LOOK, "train", "digits", "--steps", "5"]
    process = subprocess.Popen(
        command, env=kept | {"JAXGAN_CACHE": str(tmp_path)} | environment, stdout=subprocess.PIPE, text=True
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    *found, pid = json.loads(out)
    assert pid == process.pid  # signals go to the process that was started
    return found


def test_the_command_line_tunes_its_process(tmp_path):
    flags, tunables, cache, argv = look(tmp_path)
    assert flags.startswith("--xla_cpu_experimental_ynn_fusion_type=")
    assert cache.startswith(str(tmp_path / "programs"))
    assert argv[1:] == ["train", "digits", "--steps", "5"]  # also after a restart
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    assert (tunables == ALLOCATOR[1]) == (pages.exists() and "[madvise]" in pages.read_text())


def test_what_the_environment_says_stays(tmp_path):
    own = {
        "XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=dot",
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=2",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"),
    }
    assert look(tmp_path, **own)[:3] == list(own.values())


@pytest.mark.long
def test_a_second_start_finds_the_program(tmp_path):
    """The second process reads what the first compiled: both take the same steps, and nothing is compiled anew."""
    environment = {k: v for k, v in os.environ.items() if k not in ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")}
    environment |= {"JAXGAN_CACHE": str(tmp_path / "cache")}
    flags = str.split("digits --image-size None --network mlp --width 8 --steps 3 --penalty-every 1 --samples 4")

    def train(name):
        code = "from jaxgan.cli import main; main()"
        command = [sys.executable, "-c", code, "train", *flags, "--run", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return {path.name for path in (tmp_path / "cache" / "programs").rglob("*-cache")}

    first = train("first")
    assert first
    assert train("second") == first


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_none(tmp_path):
    tmp_path.chmod(0o500)
    assert look(tmp_path)[2] is None
