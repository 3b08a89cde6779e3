"""What makes a GAN's step faster on CPUs, or start sooner, outside of the program itself. The command line sets it.

A program of one's own may as well: `tune` before it makes its first array, and `ALLOCATOR` in its environment:

    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python my_training.py
"""

import hashlib
import os
import platform
import sys
from pathlib import Path

import jax
import jaxlib

from jaxgan.files import cache_dir

# The buffers of a step are freed after it. With pages of 4 KiB a DCGAN's next step takes 24,000 page faults to get them
# back, with pages of 2 MiB a few hundred. The C library reads this when a process starts.
ALLOCATOR = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

# XLA hands small matrix products to YNNPACK, which takes longer for those of a small GAN than XLA's own. An XLA that
# does not know a flag ends the process: this one is there up to jaxlib 0.12.
_FLAG, _UNTIL = "xla_cpu_experimental_ynn_fusion_type", (0, 13)

# Programs that compile faster are not kept; of those that are, the ones that were not used for longest go.
_KEPT_SECONDS, _KEPT_BYTES = 0.2, 2 << 30


_LINUX = hasattr(os, "sched_getaffinity")


def tune() -> None:
    """Sets XLA's flags for CPUs, and keeps compiled programs; must come before JAX is asked for devices.

    Compiled programs are kept in ``$JAXGAN_CACHE/programs``, by default ``~/.cache/jaxgan/programs``, for this kind of
    processor. What is set in the environment already, ``XLA_FLAGS`` and ``JAX_COMPILATION_CACHE_DIR``, stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags and jaxlib.version.__version_info__ < _UNTIL:
        os.environ["XLA_FLAGS"] = f"{flags} --{_FLAG}=".strip()
    if jax.config.values["jax_compilation_cache_dir"] is None:
        programs = cache_dir() / "programs" / _processor()
        try:
            programs.mkdir(parents=True, exist_ok=True)
        except OSError:  # nowhere to keep them: they are compiled every time
            return
        jax.config.update("jax_compilation_cache_dir", str(programs))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _KEPT_SECONDS)
        jax.config.update("jax_compilation_cache_max_size", _KEPT_BYTES)


def share_cores() -> None:
    """Makes every core a device of its own: members of an ensemble, which know nothing of each other, share them out.

    Small programs do not fill two cores; two of them do. Must come before JAX is asked for devices; what
    ``JAX_NUM_CPU_DEVICES`` or ``XLA_FLAGS`` say about them stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] < 1 and "host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", _cores())


def threads() -> int:
    """How many threads XLA computes with on CPUs: ``NPROC`` in the environment, else those cores that this process has.

    The bits of large convolutions depend on it, because their sums are shared out among the threads.
    """
    said = os.environ.get("NPROC", "")
    return int(said) if said.isdigit() else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count() or 1


def restart() -> None:
    """Starts this process anew with `ALLOCATOR` in its environment, where that changes anything: on Linux with glibc,
    if the kernel gives large pages to those who ask, and nothing is said about them yet."""
    name, value = ALLOCATOR
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if name in os.environ or platform.libc_ver()[0] != "glibc" or not pages.exists():
        return
    if "[madvise]" in pages.read_text():
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {name: value})


def _processor() -> str:
    """A name for this kind of processor: a program that was compiled for another may not run on it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else [platform.processor()]
    kind = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return f"{platform.machine()}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
