"""Hostile files, given to whoever reads them: one error that names the file, no code run, little memory, no waiting."""

import contextlib
import io
import json
import os
import pickle
import re
import resource
import struct
import subprocess
import sys
import threading
import time
import traceback
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from test_data_sources import NUMBER, image_spec, write_tfds

from jaxgan import data, runlog
from jaxgan.config import GANConfig, read
from jaxgan.data import folder as folders
from jaxgan.data import records, tfds
from jaxgan.errors import InputError
from jaxgan.metrics import digit_classifier, npz_file, references, torch_file
from jaxgan.metrics.extraction import Extractor
from jaxgan.metrics.inception_features import inception
from jaxgan.rundir import open_run

CANARY = "canary_module"  # of a folder on sys.path; who imports it leaves a file


class Attack:
    """Makes a directory when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def attack(canary):
    return pickle.dumps({"w": Attack(canary)}, 2)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A path that attacks make, here or by importing a module; what is read lies beside it."""
    folder, path = tmp_path / "modules", tmp_path / "canary"
    folder.mkdir()
    (folder / f"{CANARY}.py").write_text(f"import os\nos.mkdir({str(path)!r})\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    yield path
    assert not path.exists() and CANARY not in sys.modules


def test_the_attacks_work_on_whoever_lets_them(canary):
    pickle.loads(attack(canary))
    assert canary.is_dir()
    canary.rmdir()
    __import__(CANARY)
    assert canary.is_dir()
    canary.rmdir()
    del sys.modules[CANARY]


# What files hold.


def png(width, height, pixels=b"", *chunks):
    """A grey PNG, whatever its header claims: compressed pixels, preceded by other chunks."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunk(*c) for c in chunks)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def good_png(width=6, height=6):
    rows = zlib.compressobj()
    return png(width, height, b"".join(rows.compress(bytes(1 + width)) for _ in range(height)) + rows.flush())


def jpeg():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(file, "jpeg")
    return file.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\n(/tmp/x) (w) file\nshowpage\n%%EOF\n"


def npy(shape="(3,)", dtype="'<f4'", content=b""):
    """An array as an .npz file has it, whatever its header claims."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as zipped:
        for name, content in entries.items():
            with zipped.open(name, "w") as entry:
                for block in [content] if isinstance(content, bytes) else content:
                    entry.write(block)
    return file.getvalue()


def swollen(name, mib):
    """An archive of one entry of so many MiB of zeros."""
    return archive({name: (bytes(1 << 20) for _ in range(mib))}, zipfile.ZIP_DEFLATED)


def claiming(content, size):
    """The archive, whose directory claims that its first entry has another size."""
    at = content.rindex(b"PK\1\2")
    return content[: at + 20] + struct.pack("<II", size, size) + content[at + 28 :]


def objects(canary):
    file = io.BytesIO()
    np.savez(file, w=np.array([Attack(canary)], dtype=object))
    return file.getvalue()


def config(**fields):
    return json.dumps({"recipe": "gan", "data": "digits", **fields}).encode()


CONFIGS = {
    "pickle": attack,
    "recipe": config(recipe="os.system"),
    "recipe_of_a_module": config(recipe=f"{CANARY}.fire"),
    "recipe_that_is_a_list": config(recipe=["os.system", "ls"]),
    "objective": config(objective=f"{CANARY}.fire"),
    "network": config(network=f"{CANARY}.fire"),
    "optimizer": config(optimizer="os.system"),
    "augment": config(augment="os.system"),
    "dtype": config(dtype=f"{CANARY}.fire"),
    "unknown_field": config(__reduce__=["os.system"]),
    "class_variable": config(free=["seed"]),
    "nested_lists": b"[" * 100_000 + b"]" * 100_000,
    "nested_objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "infinite": config()[:-1] + b', "g_lr": 1e400}',
    "minus_infinite": config()[:-1] + b', "g_lr": -1e400}',
    "nan": config()[:-1] + b', "g_lr": NaN}',
    "Infinity": config()[:-1] + b', "half_life": Infinity}',
    "integer_of_10_000_digits": config()[:-1] + b', "steps": ' + b"9" * 10_000 + b"}",
    "integer_of_4_000_digits": config()[:-1] + b', "g_lr": ' + b"9" * 4_000 + b"}",
    "integer_of_65_bits": config(steps=2**64),
    "twice": config()[:-1] + b', "recipe": "stylegan2"}',
    "twice_at_the_end_of_many": b"{" + b"".join(b'"%d":1,' % i for i in range(90_000)) + b'"0":1}',
    "no_object": b'"os.system"',
    "no_utf8": b'{"recipe": "\xff\xfe"}',
    "zeros": bytes(1000),
    "empty": b"",
    "gigantic": b" " * (1 << 21) + b"{}",
    "long_name": config(**{"x" * 100_000: 1}),
    "long_value": config(width="x" * 100_000),
    "invalid_value": config(batch=-1),
    "control_characters": config(objective="\x1b[2J\x07"),
}
WEIGHTS = {
    "weights.pth": {
        "pickle": attack,
        "archived_pickle": lambda canary: archive({"x/data.pkl": attack(canary)}),
        "system": archive({"x/data.pkl": b"\x80\x02cos\nsystem\n(X\x04\0\0\0truetR."}),
        "eval": archive({"x/data.pkl": b"\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR."}),
        "bomb": swollen("x/data.pkl", 300),
        "claim": claiming(archive({"x/data.pkl": b"."}), (1 << 32) - 2),
        "absolute_name": archive({"/tmp/x/data.pkl": b"."}),
        "name_above": archive({"../../x/data.pkl": b"."}),
        "zeros": bytes(1000),
        "empty": b"",
        "escape": archive({"x/data.pkl": b"\x80\x02c\x1b[2J\x07\nsystem\n."}),
    },
    "weights.npz": {
        "pickle": attack,
        "objects": objects,
        "pickled_entry": lambda canary: archive({"w.npy": attack(canary)}),
        "other_entry": archive({"w.txt": b"os.system"}),
        "claims_terabytes": archive({"w.npy": npy("(1000000000000,)")}),
        "claims_a_gigabyte": archive({"w.npy": npy("(250000000,)")}),
        "claims_overflow": archive({"w.npy": npy("(9223372036854775807, 9223372036854775807)")}),
        "negative": archive({"w.npy": npy("(-1,)")}),
        "header_that_calls": archive({"w.npy": npy("__import__('os').mkdir('canary')")}),
        "nested_header": archive({"w.npy": npy("(" * 3000 + ")" * 3000)}),
        "bomb": swollen("w.npy", 300),
        "claim": claiming(archive({"w.npy": npy()}), (1 << 32) - 2),
        "encrypted": archive({"w.npy": npy()}).replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"),
        "unknown_compression": archive({"w.npy": npy()}).replace(b"\x14\0\0\0\0\0", b"\x14\0\0\0\x63\0"),
        "name_above": archive({"../../w.npy": npy(content=bytes(12))}),
        "absolute_name": archive({"/tmp/w.npy": npy(content=bytes(12))}),
        "text": archive({"w.npy": npy(dtype="'<U1'", content=bytes(12))}),
        "zeros": bytes(1000),
        "empty": b"",
    },
}
IMAGES = {
    "pickle": attack,
    "bomb": png(60_000, 60_000, zlib.compress(bytes(1000))),
    "bomb_that_pillow_warns_of": png(12_000, 10_000, zlib.compress(bytes(1000))),
    "text_chunk": png(6, 6, b"", (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
    "profile": png(6, 6, b"", (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
    "cut_off": good_png()[:-30],
    "cut_off_jpeg": jpeg()[:-200],
    "zeroed": good_png()[:40] + bytes(100),
    "zeros": bytes(1000),
    "empty": b"",
    "eps": EPS,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "pdf": b"%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\n",
    "gif": b"GIF89a\x06\0\x06\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x06\0\x06\0\0\x02\x05\x84\x8f\xa9\xcb\x5d\0;",
    "bmp_bomb": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
}
FEATURE = {"pythonClassName": f"{CANARY}.Feature", "tensor": {}}
LEGACY = {"type": f"{CANARY}.Feature", "content": {}}
IMAGE = {"image": image_spec(6, 6, 1)}
OF_TFDS = "tensorflow_datasets.core.features."
FEATURES = {
    "of_a_module": FEATURE,
    "of_the_system": {**FEATURE, "pythonClassName": "os.system"},
    "of_another_module_of_tfds": {**FEATURE, "pythonClassName": "tensorflow_datasets.scripts.cli.main.Feature"},
    "nested": {"pythonClassName": f"{OF_TFDS}features_dict.FeaturesDict", "featuresDict": {"features": {"x": FEATURE}}},
    "in_a_sequence": {"pythonClassName": f"{OF_TFDS}sequence_feature.Sequence", "sequence": {"feature": FEATURE}},
    "underscores": {"python_class_name": f"{CANARY}.Feature", "tensor": {}},
    "legacy": LEGACY,
    "legacy_within_text": {
        "pythonClassName": f"{OF_TFDS}features_dict.FeaturesDict",
        "jsonFeature": {"json": json.dumps({"x": LEGACY})},
    },
    "no_name": {"tensor": {}},
    "list": [FEATURE],
}
DESCRIPTIONS = {
    "features": {"features": FEATURE},
    "name_above": {"name": "../../x"},
    "name_with_control_characters": {"name": "\x1b[2J"},
    "files_above": {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "../../{DATASET}"}]},
    "absolute_files": {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "/dev/zero"}]},
    "wide_files": {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "{DATASET:>9999999999}"}]},
    "attributes": {"splits": [{"name": "train", "shardLengths": ["1"], "filepathTemplate": "{DATASET.__class__}"}]},
    "split_above": {"splits": [{"name": "../x", "shardLengths": ["1"], "filepathTemplate": "{SPLIT}"}]},
    "module": {"moduleName": CANARY},
    "file_format": {"fileFormat": f"{CANARY}.Format"},
    "version": {"version": f"{CANARY}"},
    "unknown_field": {"__reduce__": "os.system"},
    "terabytes": {"splits": [{"name": "train", "shardLengths": [str(10**12)], "filepathTemplate": ""}]},
    "negative": {"splits": [{"name": "train", "shardLengths": ["-5"], "filepathTemplate": ""}]},
}
BROKEN = {
    "pickle": attack,
    "nested": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "twice": b'{"name": "x", "name": "y"}',
    "number": b'{"name": 1e400}',
    "no_utf8": b'{"name": "\xff"}',
    "zeros": bytes(100),
    "empty": b"",
}


def cases(table):
    return pytest.mark.parametrize("content", [*table.values()], ids=[*table])


# Of which Pillow warns as well; they are refused.
warned = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def write(path, content, canary):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(canary) if callable(content) else content)
    return path


def refusal(call, *args, **kwargs):
    """The message of the error, which can be shown on any terminal; nothing was written."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert len(message) < 2000 and all(c.isprintable() or c == "\n" for c in message)
    return message


# Configurations


@cases(CONFIGS)
def test_configurations(tmp_path, canary, content):
    path = write(tmp_path / "run/config.json", content, canary)
    assert str(path) in refusal(open_run, path.parent)


def test_a_configuration_is_read_as_it_was_written(tmp_path):
    path = write(tmp_path / "config.json", config(g_lr=1e-4, steps=2**30, width=8), None)
    assert read(path) == GANConfig(data="digits", g_lr=1e-4, steps=2**30, width=8)


@pytest.mark.parametrize("name", ["os.system", f"{CANARY}.fire", "/etc/passwd", "\0", "../\x1b[2J/\0"])
def test_names_of_data_and_of_what_evaluates_reach_registries_alone(tmp_path, canary, name):
    path = write(tmp_path / "config.json", config(data=name), canary)
    shown = "\\x1b" if "\x1b" in name else repr(name)[1:-1]
    assert shown in refusal(read(path).load)
    for field in ("eval_extractor", "eval_metrics"):
        message = refusal(read, write(path, config(**{field: name}), canary))
        assert shown in message and str(path) in message


# Weights, features of real images


@pytest.mark.parametrize(
    "name, content",
    [(name, content) for name, table in WEIGHTS.items() for content in table.values()],
    ids=[f"{name}-{each}" for name, table in WEIGHTS.items() for each in table],
)
def test_weights(tmp_path, canary, name, content):
    path = write(tmp_path / "at" / name, content, canary)
    before = {*tmp_path.rglob("*")}
    assert str(path) in refusal(inception, path)
    assert {*tmp_path.rglob("*")} == before


@cases(WEIGHTS["weights.npz"] | {"two_rows": archive({"features.npy": npy("(2, 1)", content=bytes(8))})})
def test_features_that_were_altered_are_made_anew(tmp_path, canary, content):
    source = data.from_arrays(np.full((3, 2, 2, 1), 255, np.uint8))
    extractor = Extractor("mean", "1", lambda images: (images.mean((1, 2)), None))
    seen = references.reference(source, extractor)
    (path,) = (tmp_path / "cache").rglob("*.npz")
    whole = path.read_bytes()
    write(path, content, canary)
    again = references.reference(source, extractor)
    np.testing.assert_array_equal(again.features, seen.features, strict=True)
    assert path.read_bytes() == whole


@cases(WEIGHTS["weights.npz"])
def test_the_classifiers_weights(tmp_path, canary, content, monkeypatch):
    path = write(tmp_path / "digits.npz", content, canary)
    monkeypatch.setattr(digit_classifier.resources, "files", lambda package: tmp_path)
    digit_classifier._weights.cache_clear()
    try:
        with contextlib.suppress(KeyError):  # arrays, of another name: nothing was run
            digit_classifier.digits()
    except InputError as error:
        assert str(path) in str(error)
    finally:
        digit_classifier._weights.cache_clear()


# Images


@warned
@cases(IMAGES)
def test_images_in_a_folder(tmp_path, canary, content):
    write(tmp_path / "images/whole.png", good_png(), canary)
    write(tmp_path / "images/hostile.png", content, canary)
    message = refusal(data.load, str(tmp_path / "images"), image_size=4)
    assert "1 of the 2 image files" in message and "  hostile.png: " in message


@warned
def test_images_of_more_pixels_than_pillow_lets_pass_unwarned_are_refused(tmp_path, monkeypatch):
    """Twice as many it refuses by itself."""
    write(tmp_path / "x.png", good_png(), None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 36)
    assert data.load(str(tmp_path)).shape == (6, 6, 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    assert "x.png: 6x6 pixels, more than PIL.Image.MAX_IMAGE_PIXELS, 35" in refusal(data.load, str(tmp_path))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp"])
def test_what_pillow_would_run_a_program_for_is_no_image(tmp_path, suffix):
    """It takes the format from the content, whatever the name is."""
    (tmp_path / f"x{suffix}").write_bytes(EPS)
    assert Image.open(tmp_path / f"x{suffix}").format == "EPS"
    assert "not an image" in refusal(data.load, str(tmp_path))


def test_names_cannot_steer_a_terminal(tmp_path):
    for name in ("\x1b[2J\x07.png", "line\nbreak.png", os.fsdecode(b"\xff.png"), "\u202egnp.png"):
        (tmp_path / name).write_bytes(b"")
    message = refusal(data.load, str(tmp_path))
    message.encode()
    for shown in (r"\x1b[2J\x07.png", r"line\nbreak.png", r"\udcff.png", r"\u202egnp.png"):
        assert f"  {shown}: not an image" in message
    for side in ("trainA", "trainB"):
        write(tmp_path / f"two/{side}/{side}\x1b[2J.png", good_png(), None)
    assert r"trainA\x1b[2J" in refusal(data.domains, str(tmp_path / "two"), size=4, paired=True)


# Data sets of tfds


def described(root, features=IMAGE, **info):
    """A prepared data set of another description."""
    folder = write_tfds(root, "faces", features)
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | info))
    return folder


@cases(FEATURES)
def test_features_that_tfds_would_import(tmp_path, canary, content):
    folder = described(tmp_path / "data")
    (folder / "features.json").write_text(json.dumps(content))
    assert str(folder) in refusal(data.load, "faces", data_dir=tmp_path / "data")
    assert not [row for row in data.available(tmp_path / "data") if row.name == "faces"]


@cases(DESCRIPTIONS)
def test_descriptions(tmp_path, canary, content):
    folder = described(tmp_path / "data", **content)
    if "features" in content:
        (folder / "features.json").unlink()
    assert str(folder) in refusal(data.load, "faces", data_dir=tmp_path / "data")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@cases(BROKEN)
def test_broken_descriptions(tmp_path, canary, name, content):
    folder = described(tmp_path / "data")
    write(folder / name, content, canary)
    assert str(folder) in refusal(data.load, "faces", data_dir=tmp_path / "data")


def test_tfds_own_features_are_known():
    assert f"{OF_TFDS}image_feature.Image" in tfds._FEATURES and f"{OF_TFDS}feature.Tensor" in tfds._FEATURES
    assert all(name.startswith("tensorflow_datasets.core.features.") for name in tfds._FEATURES)


def recorded(root, examples, claimed=None, features=IMAGE):
    """A data set of one file with these examples: bytes, or bytes by feature."""

    def field(number, content):
        size, length = len(content), b""
        while size > 127:
            size, length = size >> 7, length + bytes([size & 127 | 128])
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    def example(record):
        entries = (field(1, key.encode()) + field(2, field(1, field(1, each))) for key, each in record.items())
        return field(1, b"".join(field(1, entry) for entry in entries))

    split = {"name": "train", "numBytes": "1", "shardLengths": [str(claimed or len(examples))]}
    folder = described(root, features, splits=[split])
    writer = ArrayRecordWriter(str(folder / "faces-train.array_record-00000-of-00001"), "group_size:1")
    for record in examples:
        writer.write(record if isinstance(record, bytes) else example(record))
    writer.close()
    return folder


@warned
@cases(IMAGES | {"other_size": good_png(7, 6)})
def test_images_in_records(tmp_path, canary, content):
    content = content(canary) if callable(content) else content
    folder = recorded(tmp_path / "data", [{"image": good_png()}, {"image": content}])
    source = tfds.prepared_source(folder)
    assert (source.read(np.array([0]))["image"] == 0).all()
    message = refusal(source.read, np.array([0, 1]))
    assert "image 1 of the split 'train'" in message and str(folder) in message


def test_images_that_nobody_asked_for_are_not_decoded(tmp_path):
    features = IMAGE | {"mask": image_spec(6, 6, 1)}
    folder = recorded(tmp_path / "data", [{"image": good_png(), "mask": EPS}], features=features)
    assert tfds.prepared_source(folder).read(np.array([0]))["image"].shape == (1, 6, 6, 1)


def test_records_that_are_none(tmp_path, canary):
    for i, (record, claimed) in enumerate([(attack(canary), 1), ({"image": good_png()}, 10**9), ({"x": b""}, 1)]):
        folder = recorded(tmp_path / str(i), [record], claimed)
        assert str(folder) in refusal(data.load, "faces", data_dir=tmp_path / str(i))
    (path,) = folder.glob("*array_record*")
    for content in (b"", bytes(1 << 18), os.urandom(1 << 18), path.read_bytes()[:-1]):
        path.write_bytes(content)
        assert str(folder) in refusal(data.load, "faces", data_dir=tmp_path / "2")


def test_pairs_whose_feature_is_hostile(tmp_path, canary):
    folder = described(tmp_path / "data", {**IMAGE, "pair": FEATURE})
    assert str(folder) in refusal(tfds.pairs, folder, "train")
    folder = recorded(tmp_path / "other", [{"image": EPS, "pair": b"x"}], features={**IMAGE, "pair": NUMBER})
    assert str(folder) in refusal(tfds.pairs, folder, "train")


# Logs


@cases(
    {
        "pickle": attack,
        "nested": b"[" * 100_000,
        "no_rows": b'[1]\n"os.system"\n7\nnull\n{}\n',
        "digits": b'{"step": ' + b"9" * 10_000 + b"}\n",
        "no_utf8": b'{"step": "\xff"}\n',
        "zeros": bytes(1000),
    }
)
def test_lines_of_a_log_that_are_no_rows_are_left_out(tmp_path, canary, content):
    path = write(tmp_path / "metrics.jsonl", content, canary)
    assert runlog.read(path) == []
    path.write_bytes(b'{"step": 1, "loss": 0.5}\n' + path.read_bytes())
    assert runlog.read(path) == [{"step": 1, "loss": 0.5}]


# What takes memory, or keeps whoever opens it waiting: in a process of its own, which can be ended.

READERS = {
    "config.json": read,
    "weights.pth": torch_file.read,
    "weights.npz": npz_file.read,
    "x.png": lambda path: data.load(str(path.parent)),
    "label.labels.txt": lambda path: data.load("faces", data_dir=path.parents[2]),
    "dataset_info.json": lambda path: tfds.open_builder(path.parent),
}
SPECIAL = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "directory": lambda path: path.mkdir(),
    "sparse": lambda path: path.touch() or os.truncate(path, 1 << 40),
}
BOMBS = {
    f"{name}-{each}": (name, table[each])
    for name, table in (("x.png", IMAGES), *WEIGHTS.items(), ("config.json", CONFIGS))
    for each in table
    if any(word in each for word in ("bomb", "claim", "chunk", "profile", "gigantic", "nested", "digits", "many"))
}
MEMORY = 1 << 31


def kib(what):
    """Memory of this process: VmRSS now, VmHWM at most."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def bounded(*paths):
    """Reads files, with so many bytes of address space more than now; prints the error of each."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    before = kib("VmRSS")
    for path in map(Path, paths):
        try:
            READERS[path.name](path)
            print(json.dumps([str(path), "read", ""]), flush=True)
        except Exception as error:
            print(json.dumps([str(path), type(error).__name__, str(error), traceback.format_exc()]), flush=True)
    print(kib("VmHWM") - before, flush=True)


def run_bounded(paths, seconds=300):
    """What `bounded` prints in another process: (kind of error, message) by path, and the KiB that it took."""
    code = "import sys, test_hostile_files as t; t.bounded(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, paths)],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=seconds, check=True,
    )  # fmt: skip
    *lines, taken = done.stdout.splitlines()
    return {Path(path): found for path, *found in map(json.loads, lines)}, int(taken)


def test_special_files_keep_nobody_waiting(tmp_path):
    paths = []
    for kind, make in SPECIAL.items():
        for name in READERS:
            path = tmp_path / kind / name
            if name.endswith(("txt", "info.json")):
                path = described(tmp_path / kind / name) / name
                path.unlink(missing_ok=True)
            if (kind, name) not in {("sparse", "label.labels.txt"), ("directory", "label.labels.txt")}:  # not read
                path.parent.mkdir(parents=True, exist_ok=True)
                make(path)
                paths.append(path)
    found, taken = run_bounded(paths)
    assert len(found) == len(paths) == 28
    for path, (kind, message, *trace) in found.items():
        named = path.parent if path.parent.name == "1.0.0" else path.name
        assert kind == "InputError" and str(named) in message, (path, message, trace)
    assert taken < 300 * 1024


def test_bombs_take_little_memory(tmp_path):
    paths = [write(tmp_path / case / name, content, None) for case, (name, content) in BOMBS.items()]
    assert len(paths) > 15 and all(path.stat().st_size < 1 << 22 for path in paths)
    found, taken = run_bounded(paths)
    assert len(found) == len(paths)
    for path, (kind, message, *trace) in found.items():
        assert kind == "InputError" and path.name in message, (path, message, trace)
    assert taken < 300 * 1024


@pytest.mark.parametrize("large", [True, False])
def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch, large):
    """Small ones together, by at least five threads."""
    at_once, active, guard, prepare = [], [], threading.Lock(), PngImageFile.load_prepare

    def slowly(self):
        with guard:
            active.append(None)
            at_once.append(len(active))
        time.sleep(0.2)
        prepare(self)
        with guard:
            active.pop()

    monkeypatch.setattr(PngImageFile, "load_prepare", slowly)
    monkeypatch.setattr(records, "_LARGE", 35 if large else 36)
    for i in range(5):
        write(tmp_path / f"{i}.png", good_png(), None)
    assert folders.folder(tmp_path).size == len(at_once) == 5
    assert (max(at_once) == 1) == large


def test_an_image_that_is_named_by_itself(tmp_path):
    """As `jaxgan translate` looks at each before it compiles anything."""
    path = write(tmp_path / "\x1b[2J.png", EPS, None)
    assert r"\x1b[2J.png cannot be used: not an image" in refusal(folders.usable, path)
