"""Data sets by name, folders of images, arrays: what is read, and what is refused."""

import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import available, from_arrays, load, prepare
from jaxgan.data.sources import stacked_mnist
from jaxgan.errors import InputError


def write_images(folder, count=3, size=(6, 6), mode="RGB", suffix="png", prefix="", seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    depth = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    for i in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], *depth), np.uint8)
        Image.fromarray(pixels, mode).save(folder / f"{prefix}{i:02}.{suffix}")


def write_tfds(root, name, features, file_format="array_record", version="1.0.0"):
    """The metadata that tfds writes beside a data set, without records."""
    folder = root / name / version
    folder.mkdir(parents=True)
    split = {"name": "train", "numBytes": "1", "shardLengths": ["1"]}
    split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info = {"name": name.split("/")[0], "version": version, "fileFormat": file_format}
    if "/" in name:
        info["configName"] = name.split("/")[1]
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": [split]}))
    module = "tensorflow_datasets.core.features."
    spec = {
        "pythonClassName": module + "features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    (folder / "features.json").write_text(json.dumps(spec))
    return folder


def image_spec(*shape, dtype="uint8"):
    dimensions = {"dimensions": [str(n) for n in shape]}
    return {
        "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
        "image": {"dtype": dtype, "encodingFormat": "png", "shape": dimensions},
    }


NUMBER = {
    "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
    "tensor": {"dtype": "int32", "encoding": "none", "shape": {}},
}


def error(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# Embedded and synthetic


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source, reference = load("digits"), load_digits()
    records = source.read(np.arange(source.size))
    assert source.shape == (8, 8, 1) and source.size == 1797 and source.classes == 10
    assert records["image"].dtype == np.uint8 and records["label"].dtype == np.int32
    np.testing.assert_array_equal(records["label"], reference["target"])
    assert np.abs(records["image"][..., 0] / 255 * 16 - reference["images"]).max() <= 16 / 255 / 2


def test_stacked_digits_spell_their_label():
    rng = np.random.default_rng(0)
    pixels, label = rng.integers(0, 256, (30, 5, 5, 1), np.uint8), np.arange(30) % 10
    source = stacked_mnist(from_arrays(pixels, label), size=200, seed=1)
    assert source.shape == (5, 5, 3) and source.classes == 1000 and source.size == 200
    records = source.read(np.arange(200))
    digit = {image.tobytes(): k for image, k in zip(pixels, label, strict=True)}
    for image, k in zip(records["image"], records["label"], strict=True):
        assert f"{k:03}" == "".join(str(digit[image[..., c].tobytes()]) for c in range(3))
    assert len(set(records["label"].tolist())) > 150  # channels are drawn apart: 200 of 1,000, few twice
    part = stacked_mnist(from_arrays(pixels, label), size=200, seed=1).read(np.array([7, 3]))
    np.testing.assert_array_equal(part["image"], records["image"][[7, 3]])
    np.testing.assert_array_equal(part["label"], records["label"][[7, 3]])


def test_stacked_mnist_is_made_of_mnist(data_dir, tmp_path):
    source = load("stacked_mnist", data_dir=data_dir, split="test[:50]")
    assert source.shape == (28, 28, 3) and source.size == 128_000 and source.classes == 1000
    assert "The data set mnist is not prepared" in error(load, "stacked_mnist", data_dir=tmp_path)


def test_digits_resized_keep_their_mean():
    small, large = (load("digits", image_size=side).read(np.arange(50)) for side in (None, 32))
    assert large["image"].shape == (50, 32, 32, 1)
    means = [batch["image"].mean((1, 2, 3)) for batch in (small, large)]
    np.testing.assert_allclose(*means, atol=6)


@pytest.mark.parametrize(("name", "count"), [("ring", 8), ("grid", 25)])
def test_mixtures_have_the_published_modes(name, count):
    mixture = load(name)
    if name == "ring":
        np.testing.assert_allclose(np.linalg.norm(mixture.modes, axis=1), 1, rtol=1e-6)
        sides = np.linalg.norm(mixture.modes - np.roll(mixture.modes, 1, axis=0), axis=1)
        np.testing.assert_allclose(sides, 2 * np.sin(np.pi / 8), rtol=1e-6)
    else:
        pairs = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
        assert {tuple(mode) for mode in mixture.modes.astype(int)} == pairs
    batch = jax.jit(mixture.draw, static_argnums=1)(jax.random.key(0), 50_000)
    point, mode = np.asarray(batch["image"]), np.asarray(batch["label"])
    assert point.shape == (50_000, 2) and point.dtype == np.float32 and mode.dtype == np.int32
    noise = (point - mixture.modes[mode]) / {"ring": 0.01, "grid": 0.05}[name]
    assert np.abs(noise.mean(0)).max() < 4 / np.sqrt(50_000)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.04)
    expected = 50_000 / count
    assert np.abs(np.bincount(mode, minlength=count) - expected).max() < 4.5 * np.sqrt(expected)


# tfds


def test_mnist_is_the_published_one(data_dir):
    source = load("mnist", data_dir=data_dir)
    assert (source.shape, source.size, source.classes) == ((28, 28, 1), 60_000, 10)
    records = source.read(np.arange(60_000))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(records["label"]), counts)
    image = records["image"]
    assert image.dtype == np.uint8 and image.shape == (60_000, 28, 28, 1)
    # The mean and deviation of the training set that are in use everywhere.
    assert round(float(image.mean()) / 255, 4) == 0.1307 and round(image.std() / 255, 4) == 0.3081


def test_random_access_is_consistent(data_dir):
    source = load("cifar10_jpeg", data_dir=data_dir)
    forward = source.read(np.array([5, 40_000, 7]))
    backward = source.read(np.array([7, 40_000, 5]))
    assert source.shape == (32, 32, 3) and forward["image"].shape == (3, 32, 32, 3)
    for key in ("image", "label"):
        np.testing.assert_array_equal(forward[key], backward[key][::-1])
    assert len({image.tobytes() for image in forward["image"]}) == 3


def test_splits_configs_and_resizing_of_tfds(data_dir):
    source = load("facades", data_dir=data_dir, split="testA", image_size=32)
    assert (source.shape, source.size, source.classes) == ((32, 32, 3), 100, None)
    small = source.read(np.arange(4))["image"]
    large = load("facades", data_dir=data_dir, split="testA").read(np.arange(4))["image"]
    assert set(source.read(np.arange(1))) == {"image"} and large.shape == (4, 128, 128, 3)
    boxes = large.reshape(4, 32, 4, 32, 4, 3).mean((2, 4))  # antialiased: near the means of boxes
    assert np.abs(boxes - small).mean() < 5
    assert load("mnist", data_dir=data_dir, split="test[:10%]").size == 1000


def test_the_environment_names_the_folder(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.delenv("JAXGAN_DATA", raising=False)
    assert load("mnist", split="test").size == 10_000
    write_tfds(tmp_path, "mnist", {"image": image_spec(5, 5, 1)}, "tfrecord")
    monkeypatch.setenv("JAXGAN_DATA", str(tmp_path))  # comes before TFDS_DATA_DIR
    assert "tfrecord" in error(load, "mnist")


def test_tensorflow_is_never_imported(data_dir):
    code = (
        "import sys, numpy as np; from jaxgan.data import load, available; "
        f"load('mnist', data_dir={str(data_dir)!r}).read(np.arange(3)); "
        f"available({str(data_dir)!r}); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_newest_version_is_read(tmp_path):
    for version in ("1.9.0", "1.10.0"):
        write_tfds(tmp_path, "some", {"image": image_spec(4, 4, 1)}, version=version)
    (row,) = [row for row in available(tmp_path) if row.name == "some"]
    assert row.where.endswith("1.10.0") and row.shape == (4, 4, 1) and row.split == "train"


def test_available_lists_all_kinds(data_dir):
    rows = {(row.name, row.split): row for row in available(data_dir)}
    assert rows["digits", "train"].size == 1797 and rows["ring", "train"].size is None
    assert rows["mnist", "test"][2:4] == (10_000, (28, 28, 1))
    assert rows["facades", "trainB"].size == 400
    stacked, listed = load("stacked_mnist", data_dir=data_dir), rows["stacked_mnist", "train"]
    assert (listed.size, listed.shape) == (stacked.size, stacked.shape) == (128_000, (28, 28, 3))


def test_unknown_names_list_the_closest(tmp_path, monkeypatch):
    assert "Did you mean 'digits'?" in error(load, "digit", data_dir=tmp_path)
    assert "Did you mean 'fashion_mnist'?" in error(load, "fashion-mnist", data_dir=tmp_path)
    write_tfds(tmp_path, "my_own_faces", {"image": image_spec(4, 4, 1)})
    message = error(load, "my_own_face", data_dir=tmp_path)
    assert "Did you mean 'my_own_faces'?" in message and str(tmp_path) in message


def test_a_data_set_that_is_not_prepared_says_the_command(tmp_path):
    folder = tmp_path / "with space"
    message = error(load, "mnist", data_dir=folder)
    assert f"jaxgan data prepare mnist --data-dir '{folder}'" in message
    assert "pip install 'jaxgan[prepare]'" in message


def test_what_tfds_data_is_refused(tmp_path):
    write_tfds(tmp_path, "records", {"image": image_spec(4, 4, 1)}, "tfrecord")
    write_tfds(tmp_path, "numbers", {"value": NUMBER})
    write_tfds(tmp_path, "deep", {"image": image_spec(4, 4, 1, dtype="uint16")})
    write_tfds(tmp_path, "ragged", {"photo": image_spec(-1, -1, 3)})
    write_tfds(tmp_path, "two", {"a": image_spec(4, 4, 1), "b": image_spec(4, 4, 1)})
    write_tfds(tmp_path, "many/a", {"image": image_spec(4, 4, 1)})
    write_tfds(tmp_path, "many/b", {"image": image_spec(4, 4, 1)})
    for name, parts in {
        "records": ("tfrecord", "array_record", "jaxgan data prepare records"),
        "numbers": ("no image feature", "value"),
        "two": ("no image feature", "a, b"),
        "deep": ("uint16", "uint8"),
        "ragged": ("several sizes", "image_size"),
        "many": ("many/a, many/b",),
    }.items():
        message = error(load, name, data_dir=tmp_path)
        assert all(part in message for part in parts), message
    assert not [row for row in available(tmp_path) if row.name in ("records", "numbers", "two")]


def test_splits_that_do_not_exist(data_dir):
    assert "train, test" in error(load, "mnist", data_dir=data_dir, split="valid")
    assert "train, test" in error(load, "mnist", data_dir=data_dir, split="train[:")
    assert "'train' alone" in error(load, "digits", split="test")
    assert "image_size is 0" in error(load, "digits", image_size=0)
    assert "points" in error(load, "ring", image_size=8)


def test_prepare_says_what_it_needs(tmp_path, data_dir, monkeypatch):
    assert prepare("mnist", data_dir) == data_dir / "mnist" / "3.0.1"  # there already
    assert "Did you mean 'mnist'?" in error(prepare, "mnits", tmp_path)
    assert "needs no preparing" in error(prepare, "digits", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'jaxgan[prepare]'" in error(prepare, "mnist", tmp_path)


def test_prepare_reports_what_stopped_tfds(tmp_path, monkeypatch):
    def offline(name, **kwargs):
        raise ConnectionError("no route to the host")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("tensorflow_datasets.builder", offline)
    message = error(prepare, "mnist", tmp_path)
    assert "mnist" in message and "ConnectionError: no route to the host" in message


# Folders


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    write_images(tmp_path / "b", 2, prefix="x")
    write_images(tmp_path / "a", 2, suffix="bmp", seed=1)
    write_images(tmp_path / ".hidden", 1)
    (tmp_path / "notes.txt").write_text("not an image")
    source = load(str(tmp_path))
    assert (source.shape, source.size, source.classes) == ((6, 6, 3), 4, None)
    names = ["a/00.bmp", "a/01.bmp", "b/x00.png", "b/x01.png"]
    expected = [np.asarray(Image.open(tmp_path / name)) for name in names]
    np.testing.assert_array_equal(source.read(np.arange(4))["image"], expected)
    np.testing.assert_array_equal(source.read(np.array([3]))["image"], expected[3:])


def test_a_folder_is_grey_only_if_all_files_are(tmp_path):
    write_images(tmp_path, 2, mode="L")
    write_images(tmp_path, 1, mode="LA", prefix="alpha")
    assert load(str(tmp_path)).shape == (6, 6, 1)
    write_images(tmp_path, 1, mode="RGBA", prefix="colour")
    Image.open(tmp_path / "00.png").quantize(4).save(tmp_path / "palette.png")
    source = load(str(tmp_path))
    images = source.read(np.arange(source.size))["image"]
    assert images.shape == (5, 6, 6, 3)
    grey = np.asarray(Image.open(tmp_path / "00.png"))
    np.testing.assert_array_equal(images[0], np.stack([grey] * 3, axis=-1))


def test_a_folder_is_cropped_to_the_centre_and_resized(tmp_path):
    pixels = np.zeros((8, 20, 3), np.uint8)
    pixels[:, 6:14] = (10, 200, 90)  # the centre square, one colour
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    source = load(str(tmp_path), image_size=4)
    assert source.shape == (4, 4, 3)
    assert (source.read(np.arange(2))["image"] == (10, 200, 90)).all()


def test_the_orientation_of_a_camera_is_applied(tmp_path):
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    source = load(str(tmp_path))
    assert source.shape == (3, 2, 1)
    turned = np.rot90(np.asarray(image), -1)
    np.testing.assert_array_equal(source.read(np.arange(1))["image"][0, ..., 0], turned)


def test_folders_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    message = error(load, str(tmp_path))
    assert str(tmp_path) in message and ".png" in message
    assert "no folder" in error(load, str(tmp_path / "missing"))
    assert "no folder" in error(load, "./missing")


def test_broken_files_are_all_found_and_ten_named(tmp_path):
    write_images(tmp_path, 4, size=(32, 32))
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 60).save(buffer, "jpeg")
    for i in range(6):
        (tmp_path / f"cut{i}.jpg").write_bytes(buffer.getvalue()[:-200])
    whole = (tmp_path / "00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for i in range(4):
        (tmp_path / f"text{i}.png").write_text("not an image")
    (tmp_path / "zero.png").write_bytes(b"")
    message = error(load, str(tmp_path), image_size=8)
    assert "12 of the 16 image files" in message and "and 2 more" in message
    assert message.count("\n  ") == 11 and "cut.png: " in message and "text0.png: not an im" in message


def test_odd_sizes_are_named_with_the_way_out(tmp_path):
    write_images(tmp_path, 5)
    write_images(tmp_path, 2, size=(7, 6), prefix="odd")
    Image.fromarray(np.zeros((6, 6), np.uint16)).save(tmp_path / "deep.png")
    message = error(load, str(tmp_path))
    assert "3 of the 8 image files" in message and "odd00.png: 7x6 pixels" in message
    assert "6x6 (5 files)" in message and "image_size" in message and "deep.png: more than 8" in message
    (tmp_path / "deep.png").unlink()
    assert load(str(tmp_path), image_size=6).size == 7


# Arrays


def test_arrays_pass_unchanged():
    rng = np.random.default_rng(0)
    for image in (rng.integers(0, 256, (5, 4, 3, 2), np.uint8), rng.uniform(-1, 1, (5, 4, 3, 2))):
        image = image if image.dtype == np.uint8 else image.astype(np.float32)
        source = from_arrays(image, np.array([0, 2, 1, 0, 0]))
        assert (source.shape, source.size, source.classes) == ((4, 3, 2), 5, 3)
        records = source.read(np.array([4, 1]))
        np.testing.assert_array_equal(records["image"], image[[4, 1]], strict=True)
        np.testing.assert_array_equal(records["label"], np.array([0, 2], np.int32), strict=True)


def test_arrays_that_are_refused():
    image = np.zeros((4, 2, 2, 1), np.float32)
    bad = image.copy()
    bad[0, 0, 0, 0], bad[3, 1, :, 0] = np.nan, np.inf
    assert "3 of the 16 values" in error(from_arrays, bad)
    assert "[0, 255]" in error(from_arrays, image + np.array([0, 255, 0, 0], "f4")[:, None, None, None])
    assert "(4, 2, 2)" in error(from_arrays, image[..., 0])
    assert "(0, 2, 2, 1)" in error(from_arrays, image[:0])
    assert "float64" in error(from_arrays, image.astype(np.float64))
    assert "(3,)" in error(from_arrays, image, np.zeros(3, int))
    assert "float32" in error(from_arrays, image, np.zeros(4, np.float32))
    assert "-1" in error(from_arrays, image, np.array([0, 1, -1, 0]))
