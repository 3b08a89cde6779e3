"""The Inception network of the FID: against torch-fidelity's, Pillow's filter, and plain loops."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

import jaxgan.metrics.inception_features as module
from jaxgan.errors import InputError
from jaxgan.metrics import inception
from jaxgan.nn.inception import InceptionV3, _mean_pool, resize_antialiased, resize_legacy

# What torch-fidelity 0.4 makes of images(2, 40, 56) and random_weights(): every 341st feature and every 168th logit
TORCH_FEATURES = [
    [0.002613815, 0.09708715, 4.313219, 0.0, 0.4320976, 0.1746237, 3.510094],
    [0.1050066, 0.002568409, 6.406399, 0.0, 0.6684788, 0.2666517, 3.846171],
]
TORCH_LOGITS = [
    [-8.013691, -10.22429, -14.03473, 4.480076, 16.36344, -12.32121],
    [-9.015792, -15.41523, -17.97578, 4.503026, 22.70582, -17.37451],
]


def random_weights():
    """Weights by their PyTorch names, random in a way that keeps the size of activations; numbers frozen in NumPy."""
    rng = np.random.RandomState(0)
    spec = jax.eval_shape(InceptionV3().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32))
    weights = {"fc.bias": rng.uniform(-1, 1, 1008).astype(np.float32)}
    for (_, *layers, leaf), x in sorted(flatten_dict(spec).items()):
        name = ".".join(layers)
        if leaf == "kernel":
            bound = (6 / np.prod(x.shape[:-1])) ** 0.5
            kernel = rng.uniform(-bound, bound, x.shape).astype(np.float32)
            weights[f"{name}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        elif leaf in ("scale", "var"):
            weights[f"{name}.{'weight' if leaf == 'scale' else 'running_var'}"] = rng.uniform(0.5, 1.5, x.shape)
        else:
            weights[f"{name}.{'bias' if leaf == 'bias' else 'running_mean'}"] = rng.uniform(-0.3, 0.3, x.shape)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def images(n, h, w, c=3):
    """u8[n, h, w, c]: coarse patches of strong colours, under fine noise."""
    rng = np.random.RandomState(1)
    patches = rng.randint(0, 256, (n, 4, 5, c))[:, np.arange(h) * 4 // h][:, :, np.arange(w) * 5 // w]
    return np.clip(patches + rng.randint(-30, 31, (n, h, w, c)), 0, 255).astype(np.uint8)


def floats(levels):
    return jnp.asarray(levels, jnp.float32) / 127.5 - 1


def distance(a, b):
    """The norm of the difference, relative to that of the differences between images."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b - b.mean(axis=0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.npz"
    np.savez(path, **random_weights())
    return path


@pytest.fixture(scope="module")
def network(weights):
    return jax.jit(inception(weights).apply)


@pytest.fixture(scope="module")
def seen(network):
    return network(floats(images(2, 40, 56)))


@pytest.mark.long
def test_the_numbers_are_those_of_torch_fidelity(seen):
    features, logits = seen
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)
    np.testing.assert_allclose(features[:, 1::341], TORCH_FEATURES, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[:, ::168], TORCH_LOGITS, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """torch-fidelity's network with the random weights, in a file that PyTorch wrote."""
    torch, fidelity = (pytest.importorskip(name) for name in ("torch", "torch_fidelity.feature_extractor_inceptionv3"))
    path = tmp_path_factory.mktemp("torch") / "random.pth"
    state = {name: torch.from_numpy(array) for name, array in random_weights().items()}
    counts = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(1) for name in state if "mean" in name}
    torch.save(state | counts, path)
    network = fidelity.FeatureExtractorInceptionV3("", ["2048", "logits_unbiased"], feature_extractor_weights_path=path)

    def apply(levels, dtype="float32"):
        # Set by hand: version 0.4 computes in float32 even where float64 is asked for.
        network.feature_extractor_internal_dtype = getattr(torch, dtype)
        out = network.to(getattr(torch, dtype))(torch.from_numpy(levels.transpose(0, 3, 1, 2).copy()))
        return [x.numpy() for x in out]

    return path, apply


@pytest.mark.parametrize("shape", [(32, 32), (64, 48), (299, 299), (400, 400)])
def test_float32_agrees_with_torch_fidelity(network, reference, shape):
    levels = images(2, *shape)
    for ours, theirs in zip(network(floats(levels)), reference[1](levels), strict=True):
        assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(theirs)
        assert distance(ours, theirs) < 1e-5


@pytest.mark.parametrize("shape", [(32, 32), (400, 400)])
def test_float64_agrees_with_torch_fidelity(reference, shape):
    """To the rounding of its result, which torch-fidelity returns in float32: the float32 error is rounding alone."""
    path, apply = reference
    levels = images(2, *shape)
    with jax.enable_x64(True):
        variables = jax.tree.map(np.float64, module.load(path)[0])
        ours = jax.jit(InceptionV3().apply)(variables, resize_legacy(jnp.asarray(levels, jnp.float64)))
        for a, b in zip(ours, apply(levels, "float64"), strict=True):
            assert a.dtype == jnp.float64
            assert np.linalg.norm(a - b) < 6e-8 * np.linalg.norm(b)


def test_both_kinds_of_file_are_the_same_weights(weights, reference):
    assert inception(weights).digest == inception(reference[0]).digest


@pytest.mark.long
def test_grey_is_three_equal_colours(weights, network):
    grey = floats(images(2, 40, 56, 1))
    once, thrice = jax.jit(inception(weights).apply)(grey), network(jnp.repeat(grey, 3, axis=-1))
    for a, b in zip(once, thrice, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_images_are_seen_as_they_would_be_saved(network, seen):
    """Rounded to whole levels and cut off outside of [-1, 1]."""
    x = floats(images(2, 40, 56))
    noise = np.random.default_rng(0).uniform(-0.49, 0.49, x.shape) / 127.5
    beyond = jnp.where(jnp.abs(x) == 1, 1.5 * x, x + noise)
    assert jnp.any(beyond > 1.2)
    np.testing.assert_array_equal(network(beyond)[0], seen[0])
    assert distance(network(x + 1 / 127.5)[0], seen[0]) > 1e-3


@pytest.mark.parametrize("size", [(2048, (1, 8, 8, 3)), (2048, (5, 301, 20, 1))])
def test_shapes(weights, size):
    width, shape = size
    for resize in ("legacy", "antialiased"):
        features, logits = jax.eval_shape(
            inception(weights, resize=resize).apply, jax.ShapeDtypeStruct(shape, jnp.float32)
        )
        assert features.shape == (shape[0], width) and logits.shape == (shape[0], 1008)
        assert features.dtype == logits.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(32, 32), (7, 450), (299, 299), (1, 2)])
def test_legacy_resize_is_a_plain_loop(shape):
    h, w = shape
    x = images(1, h, w).astype(np.float32)
    result = np.asarray(resize_legacy(jnp.asarray(x)))
    for i, j in [(0, 0), (298, 298), (298, 0), *np.random.default_rng(0).integers(0, 299, (500, 2))]:
        top, left = i * h / 299, j * w / 299
        expected = 0
        for a in (int(top), int(top) + 1):
            for b in (int(left), int(left) + 1):
                weight = (1 - abs(top - a)) * (1 - abs(left - b))
                expected = expected + weight * x[0, min(a, h - 1), min(b, w - 1)]
        np.testing.assert_allclose(result[0, i, j], expected, atol=1e-2)
    if shape == (299, 299):
        np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize("shape", [(32, 48), (299, 299), (400, 700), (64, 1000)])
def test_antialiased_resize_is_pillow_s(shape):
    x = images(2, *shape).astype(np.float32)
    result = np.asarray(resize_antialiased(jnp.asarray(x)))
    for n in range(2):
        for c in range(3):
            expected = Image.fromarray(x[n, :, :, c]).resize((299, 299), Image.Resampling.BICUBIC)
            np.testing.assert_allclose(result[n, :, :, c], np.asarray(expected), atol=2e-4)
    assert shape == (299, 299) or result.min() < 0 or result.max() > 255, "neither cut off"


def test_averages_leave_the_padding_out():
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 2)).astype(np.float32)
    result = np.asarray(_mean_pool(jnp.asarray(x)))
    for i in range(5):
        for j in range(6):
            window = x[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            np.testing.assert_allclose(result[0, i, j], window.mean(axis=(0, 1)), rtol=1e-5, atol=1e-6)


def test_the_digest_tells_weights_and_ways_to_resize_apart(tmp_path, weights):
    changed = random_weights()
    changed["Mixed_6c.branch7x7_2.bn.running_var"][3] *= 1 + 1e-6
    np.savez(tmp_path / "changed.npz", **changed)
    made = [inception(weights), inception(weights, resize="antialiased"), inception(tmp_path / "changed.npz")]
    assert len({extractor.digest for extractor in made}) == 3
    assert inception(weights).digest == made[0].digest and len(made[0].digest) == 16


def test_input_that_is_no_image_is_refused(weights):
    for shape in [(2, 8, 8, 4), (8, 8, 3)]:
        with pytest.raises(InputError, match="height, width, 1 or 3"):
            inception(weights).apply(jnp.zeros(shape))
    with pytest.raises(InputError, match="'antialiased'"):
        inception(weights, resize="antialias")  # type: ignore[arg-type]  (refused)


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, **{"fc.weight": np.zeros((1000, 2048)), "AuxLogits.fc.bias": np.zeros(3), "fc.bias": np.zeros(9)})
    with pytest.raises(InputError, match=r"other\.npz") as error:
        inception(path)
    for problem in (
        "fc.weight is (1000, 2048) in place of (1008, 2048)",
        "'AuxLogits.fc.bias' is no part",
        "Conv2d_1a_3x3.bn.running_mean is missing",
        "and 467 more",  # 94 layers of 5 arrays are missing
        module.URLS[0],
    ):
        assert problem in str(error.value)
    np.savez(path, w=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        inception(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError, match="cannot be read"):
        inception(path)
    with pytest.raises(InputError, match=r"absent\.npz"):
        inception(tmp_path / "absent.npz")


@pytest.mark.parametrize("name", module.PUBLISHED)
def test_a_published_file_has_its_digest(tmp_path, monkeypatch, name):
    """Wherever it is; in the cache it is found under both of its names."""
    assert name.removesuffix(".pth").endswith(module.SHA256[:8])
    (tmp_path / name).write_bytes(b"altered")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    for weights in (tmp_path / name, None):
        with pytest.raises(InputError, match=f"{name} is not the file.*Replace it by https.*{name}"):
            inception(weights)


def test_weights_are_downloaded_once(tmp_path, monkeypatch, capsys):
    source, cache = tmp_path / module.PUBLISHED[0], tmp_path / "cache"
    source.write_bytes(b"stands for the published file")
    monkeypatch.setenv("JAXGAN_CACHE", str(cache))
    monkeypatch.setattr(module, "URLS", (source.as_uri(),))
    with pytest.raises(InputError, match=f"what came has the SHA-256.*put it into {cache}"):
        inception()
    assert not list(cache.iterdir())
    monkeypatch.setattr(module, "SHA256", module._sha256(source))
    # Right by its digest, and then refused by the reader: it was put in place.
    for message in ("Downloading file:", ""):
        with pytest.raises(InputError, match="not a state dict"):
            inception()
        assert message in capsys.readouterr().err
        assert [path.name for path in cache.iterdir()] == [source.name]
        source.unlink(missing_ok=True)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "URLS", ((tmp_path / "absent.pth").as_uri(),))
    with pytest.raises(InputError, match=r"could not be downloaded.*absent\.pth yourself.*--eval-extractor digits"):
        inception()
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("no directory")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"could not be downloaded.*File exists"):
        inception()
