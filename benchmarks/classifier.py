"""Trains the classifier of digits that jaxgan ships, and asks it whether conditional GANs make what they are asked for.

    python benchmarks/classifier.py train               # measures it, and writes jaxgan/metrics/digits.npz
    jaxgan train cgan-mnist
    python benchmarks/classifier.py score runs/cgan-mnist

It is trained on MNIST's 60,000 images, half of them shrunk and enlarged again as small images are, and on four of five
of scikit-learn's digits, and measured on the 10,000 test images and the digits that it never saw. The score of a run is
the share of its samples that it recognises as the class that was asked for.
"""

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax.traverse_util import flatten_dict
from results import write

import jaxgan
from jaxgan import data
from jaxgan.errors import InputError
from jaxgan.metrics.digit_classifier import CLASSES, SIDE, WEIGHTS, DigitClassifier, digits, resize
from jaxgan.sample import draw_samples
from jaxgan.typing import Array, Batch, Params


def blur(images: Array, key: Array) -> Array:
    """Images, half of them as if they had been of 8 to 16 pixels."""
    small_key, size_key = jax.random.split(key)

    def through(side: int) -> Array:
        small = jax.image.resize(images, (len(images), side, side, 1), "cubic")
        return resize(small)

    small = jnp.stack([through(side) for side in (8, 12, 16)])
    chosen = jax.random.randint(size_key, (len(images),), 0, len(small))
    blurred = small[chosen, jnp.arange(len(images))]
    return jnp.where(jax.random.bernoulli(small_key, 0.5, (len(images), 1, 1, 1)), blurred, images)


def fit(feed: data.Feed, steps: int, seed: int) -> Params:
    """Adam with a cosine schedule on the cross-entropy; parameters are rounded to float16 at the end."""
    model, tx = DigitClassifier(), optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    init_key, key = jax.random.split(jax.random.key(seed))
    params = model.init(init_key, jnp.zeros((1, SIDE, SIDE, 1)), train=False)["params"]
    loaded = feed.load(0)

    @jax.jit
    def train(loaded: Any, params: Params) -> Params:
        def loss(params: Params, batch: Batch, key: Array) -> Array:
            blur_key, dropout_key = jax.random.split(key)
            images = blur(batch["image"], blur_key)
            out = model.apply({"params": params}, images, train=True, rngs={"dropout": dropout_key})
            _, logits = cast(tuple[Array, Array], out)
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

        def step(i: Array, carry: tuple) -> tuple:
            params, opt_state = carry
            grads = jax.grad(loss)(params, feed.draw(loaded, i), jax.random.fold_in(key, i))
            updates, opt_state = tx.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, steps, step, (params, tx.init(params)))[0]

    return jax.tree.map(lambda x: np.asarray(x, np.float16), train(loaded, params))


def spread(params: Params, images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and standard deviation of each feature over images."""
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)

    @jax.jit
    def features(x: Array) -> Array:
        out = DigitClassifier().apply({"params": single}, x, train=False)
        return cast(tuple[Array, Array], out)[0]

    found = np.concatenate([features(jnp.asarray(part)) for part in np.split(images, 60)]).astype(np.float64)
    return {"mean": found.mean(axis=0).astype(np.float32), "std": found.std(axis=0).astype(np.float32)}


def recognised(images: np.ndarray | Array) -> np.ndarray:
    """The classes that the classifier sees, i[N]; in parts, to save memory."""

    @jax.jit
    def classify(x: Array) -> Array:
        _, logits = digits().apply(x)
        assert logits is not None
        return jnp.argmax(logits, axis=1)

    return np.concatenate([classify(jnp.asarray(part)) for part in np.array_split(images, 10)])


def shares(right: np.ndarray, label: np.ndarray) -> dict[str, float | list[float]]:
    """Shares of what is right: of all, and of each class."""
    return {"share": float(right.mean()), "by_class": [float(right[label == k].mean()) for k in range(CLASSES)]}


def read(source: Any, start: int = 0, end: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images of a source from one index to another, at the classifier's size, f32 in [-1, 1], and their labels."""
    rows = source.read(np.arange(start, end or source.size))
    images = resize(jnp.asarray(rows["image"].astype(np.float32) / 127.5 - 1))
    return np.clip(images, -1, 1), rows["label"]


def train(epochs: int = 8, batch: int = 100, seed: int = 0, data_dir: Path | None = None) -> None:
    """Trains and tests the classifier, and writes its weights into the package.

    Args:
        epochs: Passes over the training images.
        batch: Images of a training step.
        seed: Of the training.
        data_dir: Where tfds data sets are prepared.
    """
    mnist, test = (data.load("mnist", data_dir=data_dir, split=split) for split in ("train", "test"))
    small = data.load("digits")
    assert isinstance(mnist, data.Source) and isinstance(test, data.Source) and isinstance(small, data.Source)
    known = small.size * 4 // 5
    sets = [read(mnist), *[read(small, 0, known)] * 5]  # small ones several times: they are few
    source = data.from_arrays(*(np.concatenate(parts) for parts in zip(*sets, strict=True)))
    params = fit(data.feed(source, batch, seed), epochs * source.size // batch, seed)
    arrays: dict[str, Any] = flatten_dict({"params": params, "features": spread(params, sets[0][0])}, sep="/")
    path = Path(jaxgan.__file__).parent / "metrics" / WEIGHTS
    np.savez_compressed(path, **arrays)
    measured: dict[str, Any] = {"epochs": epochs, "bytes": path.stat().st_size}
    for name, (images, label) in {"mnist": read(test), "digits": read(small, known)}.items():
        measured[name] = {"test_images": len(label), **shares(recognised(images) == label, label)}
    write("classifier", measured)


def score(run: tyro.conf.Positional[Path], count: int = 10_000, seed: int = 0) -> None:
    """Scores a conditional run.

    Args:
        run: Its directory.
        count: Samples, as many of each class.
        seed: Of the samples' latents.
    """
    if count < CLASSES or count % CLASSES:
        raise InputError(f"count is {count}. Give a multiple of {CLASSES}, for as many samples of each class.")
    label = np.arange(count) % CLASSES
    right = recognised(draw_samples(run, count, seed, label=label)) == label
    write(f"recognised_{run.name}", {"run": run.name, "samples": count, **shares(right, label)})


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"train": train, "score": score})
