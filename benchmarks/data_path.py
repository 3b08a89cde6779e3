"""How long steps wait for their data: from arrays in memory, from records on disk, from a folder of image files.

    python benchmarks/data_path.py [--preset dcgan-mnist]

All three hold images of the preset's data set. Those on disk are read, decoded and stacked by threads while steps run,
on the same cores if there is no accelerator.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from results import write

from jaxgan import data, parallel
from jaxgan.bench import bench
from jaxgan.config import GANConfig
from jaxgan.presets import PRESETS
from jaxgan.tuning import tune


def main(preset: str = "dcgan-mnist", seconds: float = 20.0, files: int = 4096) -> None:
    """Times steps on each source.

    Args:
        preset: Which configuration, of images without labels.
        seconds: How long each is timed.
        files: Images in the folder.
    """
    tune()
    config = PRESETS[preset].config
    assert isinstance(config, GANConfig)
    source = config.load()
    assert isinstance(source, data.Source)
    with tempfile.TemporaryDirectory() as folder:
        for i, image in enumerate(source.read(np.arange(files))["image"]):
            Image.fromarray(image.squeeze()).save(Path(folder) / f"{i:06d}.png")
        ways = {
            "arrays in memory": config,
            "records": dataclasses.replace(config, memory_limit=1),  # in MiB: all are larger, and stay on disk
            "folder": dataclasses.replace(config, memory_limit=1, data=folder),
        }
        found = {name: bench(each, parallel.jit(), seconds=seconds)["measured"] for name, each in ways.items()}
    write(
        "data_path",
        {
            "preset": preset,
            "files": files,
            **{
                name: {key: each[key] for key in ("images_per_second", "step_ms", "waiting_share")}
                for name, each in found.items()
            },
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
