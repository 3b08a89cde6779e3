"""Does a conditional GAN make the digits that it is asked for?

    python benchmarks/classifier.py                     # trains a classifier of MNIST, tests it on real images
    jaxgan train cgan-mnist
    python benchmarks/classifier.py --score runs/cgan-mnist

The classifier is a small convolutional network, trained on the 60,000 images and measured on the 10,000 test images
that it never saw. The score of a run is the share of its samples that it recognises as the class that was asked for.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax.traverse_util import flatten_dict, unflatten_dict
from results import write

from jaxgan import data
from jaxgan.errors import InputError
from jaxgan.nn import Conv
from jaxgan.nn.attention import max_pool
from jaxgan.sample import draw_samples
from jaxgan.typing import Array, Params

CLASSES = 10
SHAPE = (28, 28, 1)


class Classifier(nn.Module):
    """Two convolutions of 5 x 5 with pooling, one hidden layer, dropout."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """f[B, 28, 28, 1] in [-1, 1] -> f32[B, 10] logits."""
        for features in (16, 32):
            x = max_pool(nn.relu(Conv(features, 5, padding=2)(x)))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(CLASSES)(x)


def load(path: str | Path) -> Callable[[Array], Array]:
    """The trained classifier: images f32[N, 28, 28, 1] in [-1, 1] -> logits f32[N, 10].

    Raises:
      InputError: if there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(
            f"There is no classifier in {path}. Train it: python benchmarks/classifier.py --weights {path}"
        )
    with np.load(path) as arrays:
        params = unflatten_dict(dict(arrays), sep="/")
    return jax.jit(partial(Classifier().apply, {"params": params}, train=False))


def fit(feed: data.Feed, steps: int, seed: int) -> Params:
    """Adam with a cosine schedule on the cross-entropy."""
    model, tx = Classifier(), optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    init_key, key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key, jnp.zeros((1, *SHAPE)), train=False)["params"]
    loaded = feed.load(0)

    @jax.jit
    def train(loaded, params):
        def loss(params, batch, key):
            logits = cast(Array, model.apply({"params": params}, batch["image"], train=True, rngs={"dropout": key}))
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        def step(i, carry):
            params, opt_state = carry
            grads = jax.grad(loss)(params, feed.draw(loaded, i), jax.random.fold_in(key, i))
            updates, opt_state = tx.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, steps, step, (params, tx.init(params)))[0]

    return train(loaded, params)


def recognised(classify: Callable[[Array], Array], images: np.ndarray | Array) -> np.ndarray:
    """The classes that the classifier sees, i[N]; in parts, to save memory."""
    return np.concatenate([np.argmax(classify(jnp.asarray(part)), axis=1) for part in np.split(images, 10)])


def shares(right: np.ndarray, label: np.ndarray) -> dict[str, float | list[float]]:
    """Shares of what is right: of all, and of each class."""
    return {"share": float(right.mean()), "by_class": [float(right[label == k].mean()) for k in range(CLASSES)]}


def main(
    weights: Path = Path("runs/mnist-classifier.npz"),
    score: Path | None = None,
    count: int = 10_000,
    epochs: int = 6,
    batch: int = 100,
    seed: int = 0,
    data_dir: Path | None = None,
) -> None:
    """Trains and tests the classifier, or scores a run with it.

    Args:
        weights: File of the classifier's weights, .npz.
        score: Directory of a run to score instead of training.
        count: Samples to score, as many of each class.
        epochs: Passes over the training images.
        batch: Images of a training step.
        seed: Of the training, and of the samples' latents.
        data_dir: Where tfds data sets are prepared.
    """
    if score is not None:
        if count < CLASSES or count % CLASSES:
            raise InputError(f"count is {count}. Give a multiple of {CLASSES}, for as many samples of each class.")
        label = np.arange(count) % CLASSES
        images = draw_samples(score, count, seed, label=label)
        if images.shape[1:] != SHAPE:
            raise InputError(
                f"The run makes images of shape {images.shape[1:]}; the classifier knows MNIST's, {SHAPE}."
            )
        right = recognised(load(weights), images) == label
        write(f"recognised_{score.name}", {"run": score.name, "samples": count, **shares(right, label)})
        return
    source = data.load("mnist", data_dir=data_dir)
    test = data.load("mnist", data_dir=data_dir, split="test")
    assert isinstance(source, data.Source)
    assert isinstance(test, data.Source)
    params = fit(data.feed(source, batch, seed), epochs * source.size // batch, seed)
    weights.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = flatten_dict(params, sep="/")
    np.savez(weights, **arrays)
    real = test.read(np.arange(test.size))
    right = recognised(load(weights), real["image"].astype(np.float32) / 127.5 - 1) == real["label"]
    write("classifier", {"test_images": test.size, "epochs": epochs, **shares(right, real["label"])})


if __name__ == "__main__":
    tyro.cli(main)
