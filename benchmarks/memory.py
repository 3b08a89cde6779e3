"""The memory of one step with microbatches and with rematerialisation, read from the compiled program.

python benchmarks/memory.py
"""

import dataclasses

import jax
import tyro
from results import write

from jaxgan import nn
from jaxgan.presets import PRESETS


def main(batch: int = 256) -> None:
    """Compiles steps of the DCGAN for 64 x 64 pixels.

    Args:
        batch: Images of an update.
    """
    rows = []
    for microbatches in (1, 4, 16):
        for remat in (False, True):
            config = dataclasses.replace(
                PRESETS["dcgan-64"].config, batch=batch, width=32, microbatches=microbatches, remat=remat
            )
            gan = config.build((64, 64, 3), None)
            state = jax.eval_shape(gan.init, jax.random.key(0))
            images = {"image": jax.ShapeDtypeStruct((batch, 64, 64, 3), "float32")}
            program = jax.jit(gan.step, donate_argnums=0).lower(state, images, jax.random.key(1)).compile()
            memory = program.memory_analysis()
            assert memory is not None
            rows.append(
                {
                    "microbatches": microbatches,
                    "remat": remat,
                    "temporary_mib": round(memory.temp_size_in_bytes / 2**20, 1),
                    "kept_for_backward_mib": round(kept(batch // microbatches, remat) / 2**20, 1),
                }
            )
    write("memory", {"network": "DCGAN 64 x 64, width 32", "batch": batch, "steps": rows})


def kept(batch: int, remat: bool) -> int:
    """Bytes that the backward pass of the generator keeps, before the compiler's own choices."""
    generator = nn.DCGANGenerator((64, 64, 3), 32, remat=remat)
    z = jax.ShapeDtypeStruct((batch, 100), "float32")
    variables = jax.eval_shape(lambda: generator.init(jax.random.key(0), jax.numpy.zeros(z.shape), train=False))

    def backward(variables, z):
        def loss(params):
            stats = {"batch_stats": variables["batch_stats"]}
            return generator.apply({"params": params, **stats}, z, train=True, mutable=["batch_stats"])[0].sum()

        return jax.vjp(loss, variables["params"])[1]

    pull_back = jax.eval_shape(backward, variables, z)
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pull_back))


if __name__ == "__main__":
    tyro.cli(main)
