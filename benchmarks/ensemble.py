"""Many small GANs at once on the ring of eight Gaussians, each with weights and data of its own, against PyTorch.

    python benchmarks/ensemble.py [--members 512] [--width 32] [--depth 2]

jaxgan shares the members out over the cores, its steps scanned as one program. PyTorch's peers make one network of all
members: products of stacked matrices, eager and with compiled losses, and ``vmap`` of one member's gradients, all with
one fused optimiser for all. A loop over members, which is what comes before any of these, is timed for the first few
and counted for all.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
from functools import partial

import jax
import numpy as np
import torch
import tyro
from ensemble_peers import Members, Vmapped
from peers import MLP, Step, load
from race import Draws, Program, check_same, entry, race

from jaxgan.config import GANConfig
from jaxgan.data import Synthetic
from jaxgan.ensemble import EACH, EACH_STATE, apart, ensemble, shares
from jaxgan.tuning import share_cores, tune
from jaxgan.typing import Array, PyTree

# Members that the loop is timed with.
LOOPED = 4


def main(
    members: int = 32, width: int = 32, depth: int = 2, batch: int = 64, length: int = 50, rounds: int = 9
) -> None:
    """Races a step of an ensemble.

    Args:
        members: How many GANs.
        width: Units of a hidden layer.
        depth: Hidden layers of each network.
        batch: Points of an update of each member.
        length: Steps of one program.
        rounds: How often each side is timed.
    """
    tune()
    share_cores()
    config = GANConfig(data="ring", network="mlp", width=width, depth=depth, latent_dim=2, batch=batch)
    source = config.load()
    assert isinstance(source, Synthetic)
    gans, mesh = ensemble(lambda: config.build(source.shape, source.classes), {}, own_batches=True), shares(members)
    # Laid out before they are timed, as they stay from program to program.
    init_keys, step_keys, data_keys = (jax.random.split(jax.random.key(i), members) for i in range(3))
    each = jax.sharding.NamedSharding(mesh, EACH)
    points = jax.vmap(lambda key: source.draw(key, batch)["image"])(data_keys)
    real, keys = jax.device_put((points, step_keys), each)
    state = jax.jit(apart(gans.init, mesh, (EACH,), EACH_STATE))(init_keys)

    def program(length: int) -> Program:
        def steps(state: PyTree, real: Array, keys: Array) -> tuple[PyTree, dict]:
            return jax.lax.fori_loop(0, length, lambda _, s: gans.step(s, {"image": real}, keys)[0], state), {}

        shared = apart(steps, mesh, (EACH_STATE, EACH, EACH), (EACH_STATE, EACH))
        return Program(jax.jit(shared, donate_argnums=0), state, real, keys, length=length)

    params = jax.device_get(state.params)
    g = load(Members(members, 2, width, depth, 2, slope=0.0), params["generator"])
    d = load(Members(members, 2, width, depth, 1, slope=0.2), params["discriminator"])
    x = torch.from_numpy(np.array(real))
    tx = partial(torch.optim.Adam, lr=config.g_lr, betas=(config.b1, config.b2), eps=1e-8, fused=True)

    def latents(*_) -> torch.Tensor:
        return torch.randn(members, batch, config.latent_dim)

    def batched(**options) -> Step:
        # Every member's loss is a mean over its own batch.
        options = {"normal": latents, "total": lambda losses: losses.mean(1).sum()} | options
        return Step(g, d, config.latent_dim, "non_saturating", tx, tx, **options)

    def alone(i: int, **options) -> Step:
        own = jax.tree.map(lambda leaf: leaf[i], params)
        one = load(MLP(2, width, depth, 2, slope=0.0), own["generator"])
        other = load(MLP(2, width, depth, 1, slope=0.2), own["discriminator"])
        return Step(one, other, config.latent_dim, "non_saturating", tx, tx, **options)

    looped = min(members, LOOPED)

    def loop():
        steps = [alone(i) for i in range(looped)]

        def run(count: int) -> None:
            for _ in range(count):
                for i, step in enumerate(steps):
                    step(x[i])

        return run

    draws = Draws()
    with draws.in_jax():
        one = program(1)
    one(1)
    moments = jax.device_get(one.state.opt_state)
    same = draws.normal(batch, config.latent_dim)
    stacked = batched(normal=lambda *_: same.expand(members, -1, -1))
    mapped = Vmapped(g, d, "non_saturating", tx, lambda: same.expand(members, -1, -1))
    for peer in (stacked, mapped):
        peer(x)
    singles = [alone(i, normal=draws.normal) for i in range(looped)]
    for i, peer in enumerate(singles):
        peer(x[i])
    apart_after = [check_same(moments, peer.players, members) for peer in (stacked, mapped)]
    apart_after += [
        check_same(jax.tree.map(lambda leaf, i=i: leaf[i], moments), peer.players) for i, peer in enumerate(singles)
    ]

    race(
        f"ensemble_{members}",
        entry(partial(program, length), length),
        {
            "batched matmuls": entry(lambda: batched().run(x)),
            "batched matmuls, torch.compile": entry(lambda: batched(compiled=True).run(x)),
            "vmap": entry(lambda: Vmapped(g, d, "non_saturating", tx, latents).run(x)),
            "loop": entry(loop, times=members / looped),
        },
        rounds=rounds,
        config=config.as_data(),
        members=members,
        devices=mesh.size,
        steps_per_program=length,
        looped_members=looped,
        parameters_of_a_member=sum(leaf.size for leaf in jax.tree.leaves(state.params)) // members,
        apart_after_one_step=max(apart_after),
    )


if __name__ == "__main__":
    tyro.cli(main)
