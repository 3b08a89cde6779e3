"""``jaxgan export``: a trained generator for programs without jaxgan."""

from pathlib import Path

import tyro

from jaxgan.export import PLATFORMS, export


def command(
    run: tyro.conf.Positional[Path],
    step: int | None = None,
    out: Path | None = None,
    platforms: tuple[str, ...] = PLATFORMS,
    onnx: bool = False,
) -> None:
    """Write the averaged generator for programs without jaxgan: as a function of JAX, as safetensors, as ONNX if asked.

    Args:
        run: Directory of the run.
        step: Export the checkpoint of this step; by default the newest.
        out: Directory of the files; by default RUN/export.
        platforms: What the function can run on: cpu, cuda, tpu.
        onnx: Write it as an ONNX model too (needs the extra jaxgan[onnx]).
    """
    for path in export(run, out, step=step, platforms=platforms, onnx=onnx):
        print(f"{path}  {path.stat().st_size / 1e3:,.0f} kB")
