"""Differentiable augmentation: a discriminator that sees no image twice alike cannot learn the data by heart.

Real and generated images are augmented alike, each with draws of its own, before the discriminator sees them, in its
turn and in the generator's. An `Augment` is a pure function ``(images, key, p) -> images``, linear or affine in every
image and therefore differentiable to any order.

- `ada`: the pipeline of adaptive discriminator augmentation. `adapt` moves its probability p from what the
  discriminator says of real images; p is a part of the state, ``memory["ada"]``.
- `diff_augment`: DiffAugment, at a probability of 1.

>>> augment = ada()
>>> logits = discriminator.apply(params, augment(images, key, state.memory["ada"].p), train=True)  # doctest: +SKIP
"""

from jaxgan.augment.ada import ada
from jaxgan.augment.adapt import AdaState, ada_init, ada_update, adapt, real_sign, start, strength
from jaxgan.augment.base import Augment
from jaxgan.augment.diff import diff_augment

__all__ = [
    "AdaState",
    "Augment",
    "ada",
    "ada_init",
    "ada_update",
    "adapt",
    "diff_augment",
    "real_sign",
    "start",
    "strength",
]
