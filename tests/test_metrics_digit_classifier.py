"""The classifier of digits that comes with the package, on real images that it was not trained on."""

from importlib import resources

import jax
import numpy as np
import pytest

from jaxgan import data
from jaxgan.errors import InputError
from jaxgan.metrics import digits, extract, fid, moments, stacked_digits
from jaxgan.metrics.digit_classifier import WEIGHTS, resize
from jaxgan.metrics.extractors import extractor, usual


@pytest.fixture(scope="module")
def mnist(data_dir):
    """All 10,000 test images and their labels."""
    return data.load("mnist", data_dir=data_dir, split="test").read(np.arange(10_000))


@pytest.fixture(scope="module")
def seen(mnist):
    return extract(digits(), np.split(mnist["image"], 10))


@pytest.mark.long
def test_it_is_small_and_knows_mnist(mnist, seen):
    assert len((resources.files("jaxgan.metrics") / WEIGHTS).read_bytes()) < 300_000
    assert seen.features.shape == (10_000, 64)
    right = seen.logits.argmax(axis=1) == mnist["label"]
    assert right.mean() > 0.985
    assert min(right[mnist["label"] == k].mean() for k in range(10)) > 0.97


@pytest.mark.long
def test_it_knows_other_sizes(mnist):
    images = mnist["image"][:2000].astype(np.float32) / 127.5 - 1
    for side, least in ((32, 0.98), (16, 0.97), (8, 0.9)):
        small = np.clip(jax.image.resize(images, (2000, side, side, 1), "cubic"), -1, 1)
        logits = extract(digits(), [np.asarray(small)]).logits
        assert np.mean(logits.argmax(axis=1) == mnist["label"][:2000]) > least


def test_it_knows_the_embedded_digits():
    source = data.load("digits")
    held = source.read(np.arange(source.size * 4 // 5, source.size))
    logits = extract(digits(), [held["image"]]).logits
    assert np.mean(logits.argmax(axis=1) == held["label"]) > 0.93


def test_stacked_digits_spell_a_number(mnist, seen):
    rows = np.random.default_rng(0).integers(0, 10_000, (200, 3))
    stacked = np.stack([mnist["image"][rows[:, i], ..., 0] for i in range(3)], axis=-1)
    got = extract(stacked_digits(), [stacked])
    single = seen.logits.argmax(axis=1)[rows]
    np.testing.assert_array_equal(got.logits.argmax(axis=1), single @ [100, 10, 1])
    np.testing.assert_allclose(np.exp(got.logits).sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(got.features.reshape(200, 3, 64), seen.features[rows], rtol=1e-3, atol=1e-3)


@pytest.mark.long
def test_fid_falls_as_noise_is_taken_from_real_images(mnist, seen):
    real, images = moments(seen.features[:8000]), mnist["image"][8000:].astype(np.float32) / 127.5 - 1
    noise = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    distances = []
    for amount in (1.0, 0.5, 0.3, 0.2, 0.1, 0.0):
        noisy = np.clip(images + amount * noise, -1, 1)
        distances.append(fid(real, moments(extract(digits(), [noisy]).features)))
    assert np.all(np.diff(distances) < 0)
    assert distances[0] > 20 * distances[-1]


def test_sizes_that_fit_are_left_alone():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 28, 28, 1)).astype(np.float32)
    assert resize(images) is images
    assert resize(images[:, ::2]).shape == (2, 28, 28, 1)


def test_extractors_by_name():
    assert (
        usual("mnist/3.0.1", 1) == usual("digits", 1) == "digits"
        and usual("stacked_mnist", 3) == "stacked_digits"
        and usual("mnist", 3) == usual("cifar10", 3) == "inception"
    )
    assert extractor("digits").digest == extractor("stacked_digits").digest != ""
    with pytest.raises(InputError, match="weights of the extractor 'digits' come with jaxgan"):
        extractor("digits", "file.npz")
    with pytest.raises(InputError, match="no extractor 'digit'"):
        extractor("digit")
    with pytest.raises(InputError, match=r"a digit in each of three channels.*28, 28, 1"):
        stacked_digits().apply(np.zeros((1, 28, 28, 1), np.float32))
