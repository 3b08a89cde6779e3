"""One step on 1 to 8 simulated devices: the work of each, and what its collectives carry, read from the program.

    JAX_NUM_CPU_DEVICES=8 python benchmarks/scaling.py

Simulated devices share the cores of one machine: the program's numbers hold on real devices, its seconds would not, so
none are measured.
"""

import math
import re

import jax
import numpy as np
import tyro
from results import write

from jaxgan import data, parallel
from jaxgan.presets import PRESETS
from jaxgan.turns import slices

BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}


def main(preset: str = "dcgan-mnist") -> None:
    """Compiles one step of a preset for each engine and number of devices.

    Args:
        preset: Which configuration.
    """
    config = PRESETS[preset].config
    source = config.load()
    rows = []
    for name in parallel.ENGINES:
        for devices in (1, 2, 4, 8):
            engine = parallel.engine(name, devices)
            gan = config.build(source.shape, source.classes, engine.axis_name)
            images = config.batch * slices(gan.step)
            batch = engine.place(jax.tree.map(np.asarray, data.feed(source, images, 0).peek(images)))
            state = engine.init(gan)(jax.random.key(0))
            program = engine.step(gan).lower(state, batch, jax.random.key(1)).compile()
            reduces = collectives(program.as_text())
            rows.append(
                {
                    "engine": name,
                    "devices": devices,
                    "flops_of_a_device": program.cost_analysis()["flops"],
                    "collectives": len(reduces),
                    "bytes": sum(reduces),
                    "bytes_of_each": sorted(reduces, reverse=True),
                    "parameter_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state.params)),
                }
            )
    write("scaling", {"preset": preset, "batch": config.batch, "steps": rows})


def collectives(program: str) -> list[int]:
    """The bytes that each collective of a compiled program carries."""
    found = re.findall(
        r"= (\S.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", program
    )
    return [sum(size(*array) for array in re.findall(r"(\w+)\[([\d,]*)\]", shapes)) for shapes in found]


def size(dtype: str, shape: str) -> int:
    return BYTES[dtype] * math.prod(int(n) for n in shape.split(",") if n)


if __name__ == "__main__":
    tyro.cli(main)
