"""Random crops: which windows they are, how often, and that no engine changes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import parallel
from jaxgan.data.crop import random_crop_flip
from jaxgan.errors import InputError


def key(seed=0):
    return jax.random.key(seed)


def test_crops_are_windows_all_as_likely_half_of_them_mirrored():
    n, side, size = 4000, 5, 3
    image = jnp.linspace(-1, 1, side * side).reshape(side, side, 1)
    crops = np.asarray(random_crop_flip(jnp.broadcast_to(image, (n, side, side, 1)), key(), size, side))
    windows = np.stack(
        [
            np.asarray(image)[i : i + size, j : j + size][:, ::step]
            for i in range(side - size + 1)
            for j in range(side - size + 1)
            for step in (1, -1)
        ]
    )
    found = (crops[:, None] == windows).all((2, 3, 4))
    np.testing.assert_array_equal(found.sum(1), 1)
    counts = found.sum(0)
    expected = n / len(windows)
    assert ((counts - expected) ** 2 / expected).sum() < 41  # chi-squared with 17 degrees of freedom, p = 0.001


@pytest.mark.parametrize(("height", "width", "load"), [(9, 12, 16), (40, 24, 10), (16, 16, 16)])
def test_images_are_resized_bicubically_to_a_square(height, width, load):
    """Against Pillow, which the paper's code resizes with; float images, cut off where the kernel overshoots."""
    images = np.asarray(jnp.sign(jax.random.normal(key(1), (6, height, width, 1))))
    crops = np.asarray(random_crop_flip(jnp.asarray(images), key(), load, load))
    mirrored = 0
    for image, crop in zip(images, crops, strict=True):
        resized = Image.fromarray(image[:, :, 0], "F").resize((load, load), Image.Resampling.BICUBIC)
        expected = np.clip(np.asarray(resized), -1, 1)
        flip = np.abs(crop[:, ::-1, 0] - expected).max() < 1e-4
        mirrored += flip
        np.testing.assert_allclose(crop[:, ::-1, 0] if flip else crop[:, :, 0], expected, atol=1e-4)
    assert 0 < mirrored < 6


def test_one_key_gives_pairs_the_same_crops():
    a = jax.random.uniform(key(1), (8, 12, 12, 3), minval=-1)
    first, second = (random_crop_flip(x, jax.random.clone(k), 8, 12) for k in (key(2),) for x in (a, -a))
    np.testing.assert_array_equal(first, -second)
    assert np.abs(first - random_crop_flip(a, key(3), 8, 12)).max() > 0.1


@pytest.mark.parametrize("name", parallel.ENGINES)
def test_devices_give_the_crops_of_one(name):
    images = jax.random.uniform(key(1), (8, 6, 6, 2), minval=-1)
    expected = random_crop_flip(images, key(2), 4, 7)
    e = parallel.engine(name, 2)

    def crop(images, key):
        return random_crop_flip(images, key, 4, 7, axis_name=e.axis_name)

    got = e.compile(crop, (e.split(), parallel.WHOLE), e.split())(e.place(images), key(2))
    np.testing.assert_allclose(np.asarray(got).reshape(expected.shape), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "load", "message"),
    [
        ((2, 8, 8, 3), jnp.float32, 9, 8, "crop of 9 pixels does not fit.*resized to 8.*load_size to at least 9"),
        ((2, 8, 8, 3), jnp.float32, 0, 8, "between 1 and 8"),
        ((8, 8, 3), jnp.float32, 4, 8, r"shape \(8, 8, 3\)"),
        ((2, 8, 8, 3), jnp.uint8, 4, 8, "uint8"),
    ],
)
def test_crops_that_do_not_fit(shape, dtype, size, load, message):
    with pytest.raises(InputError, match=message):
        random_crop_flip(jnp.zeros(shape, dtype), key(), size, load)
