"""Two domains: the layouts that they come in, and how a step sees them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import domains, feed, from_arrays
from jaxgan.data.domains import Domains
from jaxgan.errors import InputError


def picture(path, size, mode="RGB", value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(hash(path.name)) % 2**32 if value is None else value)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


@pytest.fixture
def root(tmp_path):
    """Images of mixed sizes and modes, more of b than of a."""
    for i, (size, mode) in enumerate([((30, 20), "RGB"), ((16, 16), "L"), ((20, 40), "RGBA")]):
        picture(tmp_path / f"trainA/{i}.png", size, mode)
    for i in range(5):
        picture(tmp_path / f"trainB/{i}.png", (24, 18), "P")
    return tmp_path


def numbered(n, side=4, start=0):
    """Image i has the value start + i everywhere."""
    images = np.broadcast_to(np.arange(start, start + n, dtype=np.uint8)[:, None, None, None], (n, side, side, 1))
    return from_arrays(np.ascontiguousarray(images))


def unpaired(n_a=5, n_b=7, paired=False):
    a, b = numbered(n_a), numbered(n_b, start=100)
    return Domains("numbers", a, b, 4, True, paired, (a, b))


def values(images):
    return np.rint((np.asarray(images)[:, 0, 0, 0] + 1) * 127.5).astype(int)


def test_images_of_any_size_and_mode_become_squares_of_rgb(root):
    found = domains(root, size=14, load_size=16)
    assert (found.a.size, found.b.size, found.shape) == (3, 5, {"a": (14, 14, 3), "b": (14, 14, 3)})
    assert found.a.read(np.arange(3))["image"].shape == (3, 16, 16, 3)
    whole = Image.open(root / "trainA/0.png").resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found.a.read(np.arange(1))["image"][0], np.asarray(whole))  # stretched, not cropped
    grey = found.a.read(np.array([1]))["image"]
    assert (grey[..., :1] == grey).all()
    assert found.shown[0].shape == (14, 14, 3) and found.shown[0].size == 3  # there is no test set


def test_grey_on_both_sides_stays_grey_and_on_one_becomes_rgb(tmp_path):
    for side in "AB":
        picture(tmp_path / f"train{side}/0.png", (16, 16), "L")
    assert domains(tmp_path, size=16).shape["a"] == (16, 16, 1)
    picture(tmp_path / "trainB/1.png", (16, 16))
    found = domains(tmp_path, size=16)
    assert found.shape == {"a": (16, 16, 3), "b": (16, 16, 3)} and found.a.shape[2] == 3


def test_two_folders_are_a_data_set_and_test_images_are_shown(root):
    for side, n in (("A", 2), ("B", 4)):
        for i in range(n):
            picture(root / f"test{side}/{i}.png", (8, 8))  # smaller than the crops: they are not cropped
    named, given = domains(root, size=16), domains(a=root / "trainA", b=root / "trainB", size=16)
    assert [side.size for side in named.shown] == [side.size for side in given.shown] == [2, 4]
    elsewhere = domains(a=root / "trainB", b=root / "trainA", size=16)
    assert [side.size for side in elsewhere.shown] == [5, 3]


def test_facades_are_pairs_only_where_they_are_asked_for(data_dir):
    loose = domains("facades", data_dir=data_dir, size=64)
    assert (loose.a.size, loose.b.size, loose.shown[0].size, loose.a.shape) == (400, 400, 100, (72, 72, 3))
    from jaxgan.data import tfds

    folder = tfds.prepared(data_dir)["facades"]
    a, b = (np.argsort(tfds.pairs(folder, split)) for split in ("testA", "testB"))
    paired = domains("facades", data_dir=data_dir, size=64, paired=True)
    for order, side, before in zip((a, b), paired.shown, loose.shown, strict=True):
        np.testing.assert_array_equal(side.read(np.arange(9))["image"], before.read(order[:9])["image"])
    with pytest.raises(InputError, match="has no feature 'pair'"):
        tfds.pairs(tfds.prepared(data_dir)["mnist"], "test")


def test_each_side_sees_all_its_images_in_an_order_of_its_own():
    fed = feed(unpaired(35, 35), 1, 0)
    draw = jax.jit(fed.draw)
    loaded = fed.load(0)
    seen = [draw(loaded, jnp.int32(step)) for step in range(35)]
    a, b = (np.concatenate([values(batch[side]) for batch in seen]) for side in "ab")
    assert sorted(a) == list(range(35)) and sorted(b) == list(range(100, 135))
    assert (a != b - 100).sum() > 25  # the chance of a coincidence is 1 in 35 an image


def test_pairs_stay_together_and_are_cropped_alike():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 9, 9, 1), np.uint8)
    a, b = from_arrays(images), from_arrays(255 - images)
    fed = feed(Domains("pairs", a, b, 5, True, True, (a, b)), 4, 0)
    batch = jax.jit(fed.draw)(fed.load(0), jnp.int32(3))
    assert batch["a"].shape == (4, 5, 5, 1)
    np.testing.assert_allclose(batch["a"], -batch["b"], atol=1e-6)


def test_disk_gives_the_bits_of_memory_and_a_seed_may_be_traced():
    memory, disk = feed(unpaired(), 2, 3), feed(unpaired(), 2, 3, memory_limit=0)
    for step in (0, 9):
        loaded = memory.load(step)
        a, b = memory.draw(loaded, jnp.int32(step)), disk.draw(disk.load(step), jnp.int32(step))
        np.testing.assert_array_equal(np.concatenate([*a.values()]), np.concatenate([*b.values()]))
        traced = jax.jit(memory.draw)(loaded, jnp.int32(step), jnp.uint32(3))
        np.testing.assert_array_equal(np.concatenate([*a.values()]), np.concatenate([*traced.values()]))
    other = memory.draw(memory.load(0), jnp.int32(0), jnp.uint32(4))
    assert any((values(other[side]) != values(memory.draw(memory.load(0), jnp.int32(0))[side])).any() for side in "ab")


def test_digits_keep_their_sides_where_crops_are_not_mirrored():
    images = np.zeros((8, 6, 6, 1), np.uint8)
    images[:, :, 0] = 255
    a = from_arrays(images)
    drawn = [feed(Domains("x", a, a, 6, flip, False, (a, a)), 8, 0) for flip in (False, True)]
    left = [np.asarray(f.draw(f.load(0), jnp.int32(0))["a"][:, 0, 0, 0]) > 0 for f in drawn]
    assert left[0].all() and not left[1].all()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda root: (root / "trainB").rename(root / "B"), {}, "has no folder trainB"),
        (lambda root: [f.unlink() for f in (root / "trainA").iterdir()], {}, "There are no images in .*trainA"),
        (lambda root: None, {"size": 17}, r"(?s)1\.png: 16x16 pixels, fewer than 17.*smaller size"),
        (lambda root: (root / "trainB/2.png").write_bytes(b"no image"), {}, r"2\.png: not an image"),
        (lambda root: None, {"load_size": 8}, "load_size is 8; crops of 16 pixels need at least 16"),
        (lambda root: None, {"paired": True}, "no pairs.*3 and 5 images, 2 names occur on one side only: 3, 4"),
    ],
)
def test_sides_that_do_not_work(root, make, options, words):
    make(root)
    with pytest.raises(InputError, match=words):
        domains(root, **{"size": 16, **options})


def test_names_that_are_no_domains(root, tmp_path, data_dir):
    with pytest.raises(InputError, match=r"only b is given\. Give both: --a DIR --b DIR"):
        domains(b=root / "trainB")
    with pytest.raises(InputError, match=r"There is no folder .*nowhere"):
        domains(a=root / "nowhere", b=root / "trainB")
    with pytest.raises(InputError, match=r"no data set and no folder 'facade' .*Did you mean 'facades'"):
        domains("facade", data_dir=data_dir)
    with pytest.raises(InputError, match="mnist has no two domains: it has the splits"):
        domains("mnist", data_dir=data_dir)
    with pytest.raises(InputError, match=r"128 x 128 pixels, fewer than 256\. Set image_size to 128"):
        domains("facades", data_dir=data_dir, size=256)
    with pytest.raises(InputError, match="Name a data set of two domains"):
        domains()
