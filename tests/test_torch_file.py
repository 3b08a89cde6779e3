"""PyTorch's files without PyTorch: against files that it wrote, lies and attacks made by hand, and damage anywhere."""

import base64
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import InputError
from jaxgan.metrics.torch_file import read

# What STATE below is saved as by PyTorch 2.14, compressed.
ARCHIVE = (
    "eNqlls9vG0UUx8d2Yjum+Q0kDSWllB8OTR3/2rXTJnG6BNOyhSabtCy5WGt7G6+yWeftjoNaKVIklFDOlEORQD31X4ByyhEhLiB6QZU4VAg49Q"
    "biFGZ2ks3uFidtvNJ65PV8P+/7Zuc9z6wYakMoGkVPXD2oDylmpaatqWNVBSuJ1WW9KHShRc+1EaxU6rquVrBWN6zYFbOqmmp1RqvgGKARCQJx"
    "OUxgy6ppqDoEK7hOkIlSA2u6FSuZarmh6dXSqmIqKypWzRiEmkzBqmHVzdJaOgZt8bgcIVCLzFSWVGhnklhRryt4nj2MQVgOkDlJiMghMlZWGx"
    "AVwxg65kQkBsXQFsTEkBjYguc+q1GjxzB0StB1y/7S/Sn0SNArRx3riQXoq5HAtfZauBap2ah+igqJwS14XgxQ4gsM9SKGAQkGZbKwSFcsDMf9"
    "yqE5sU0MbsJLYmATTjDVyxiGJThpq2qKfh1eYard5C6SR05up+zcUvAqwQUxnLZz2oTXKO51hnsDw5sSxOV2MrFsKpoBIx6eYK9WineYb9nMNJ"
    "xhzNFd5lnKTDDmGIakBCn7jVbrjbKuQtoDnbEfOsiMjcxAliADGDiKDNA159mQY9g8hnEJztnvSTMwnPcwLxn773TCBmZhkgGnbOAmFOjHNINd"
    "wCBI8LbcTyYajZVSWcGVmmqVsKlUltUqzHjgl+vGkkN/x6ZzUGT0dwl9ZIRRL2K4JMF79mqqK6v4Boh779QW8XCZiBCG96klRDfDB2x7XWGAWQ"
    "xzEkiNdZiXO4igRLa7QssKFuzfr8ZlWnRwbR0+tDf3mmpapKRAFgOWHKQv0YCP1mGxJotBq2GVE7NiJPr5F1P3b5Jlo/ds00oeQBecSk5cr5sr"
    "Ci7t4ovCpK+gn/FKURvfPH74CV0Feje3MYRy+zZ2a7ek6NqSsaIauChkjuKEz1IDhY/hL7pGwQMN9KKCY6B8A6t12qyKwvlWVkDXMNZV6mFz8t"
    "FxWhjhAz10oSlPVx1LFoVzLRhg1I0p8lFAaJrcG+S+W6COpN//ODlIfhg8xNGo11GqKMSf2hFJZ5vG4h88uE07V9shsaa9sdJFYaKlDbhdYPEj"
    "c4uPjhA/02r8L+/Q67693t/P3/ubBo0e4mHC6yFbFPJH9vDvzs4OjX367u1fj5A/12r+3ImHv7Gqi0S/unXqR2/+6Gny51vJv3mu3ajfieN0u2"
    "5/oEyMOv/p66Wrh/ePYZTeb2C2dUs1NdLBbir09FPSqkUh8YyZJPn8OJce5/hsLs+lkzzH5fLJ8UwmneVSfD41ns+nU/lcNkdd/nPvzHdx4iNu"
    "uwxQs45P9z9BzxPO/ec4v9rdwAc8yh9CqNl/hx/ibsJDHshcGzqg8/s57kba6+H87OI4Ddwvd3e9Lo/8Wjvy9V6/1t3FvNo//dqUX+vuQF7tQt"
    "inTfu17s7h1f7i12b8Wnfle7X0HOHtNH6tu2J9cf1abk/7/zXtiRv1aXl/XHe9dXu02y5tk33mLoNhj7ivAx1SoLNiODy6V86hs46y0zfmQmz8"
    "toONREcPZejxMfadnXTaw0zTac9nc/8DLLASDQ=="
)
SEQUENCE = (
    "eNp9lFlv00AQx23nAkO5r0K5r5QjNIlzcTRQSqEsV90C5pLlOEtt6toZe12pSJHy0lL4BiAeeOQr8NYPgsQzHwEJqYztNCWSYSWv7dnZ/292dn"
    "Y7wgfR+v154texN18fDeY6wv2fCezbwGWVHRzHtVyHObpjqQvU9UzHBh4dlAEcsUzGLKpSu2lqNggriohGttiiqme+pR4k2pDMKik0eobjMkgR"
    "QUngn2kzSJOkkgw0HHsWMiTp+8jUEWNRnSHFEx+6TerS5ripMxG4YRn4rJLGGXPUtakFgs4cVzdyqs9MyxNVlzZ802qqLc3V5imjrgiJf7gwan"
    "uOqy4URIwvq2SCANFTm6WQiqaIE5ajsenIKEJa2YY+NamYzxelQqEiSWUJMuFa9JYPm0j6AYPNU4QjAkksg0gShF+GLe+NIOytDAZk2LYS/mx/"
    "Bztk2Kls6i0kNwO7DAzDSBmxmN1GJL8nkE8QYRn2Ej6g7Ivk9zM4IMNglEzNY3Dwf2qHumpDUyRJhCU4TPglOBIpHWVwTIbjoZKhWa/hRKTUTc"
    "kdNPUycnJDXCpVysVKJV+AUyguoPjpMBNLcCYQPxuJZxlgfy6shoarmTac71MfCzOeL/cIF/rDz5crVQkudgm5LuFSQBiJCHkGBRmKYY00Hb9h"
    "UZD6EOOhsQco9QNK1VqlDGUE8AioBAA+2MVq9KpFkMsMrshwtVfG1/oIk/ZGzYz2yefLpdKIBPWu/PVQfgluBN1YJH2TwbgMt5TdOM3259WGxn"
    "SDeipzNX2ONmGiD3UPz02PdbuPVazmK7UC3OmyJpE1PBwx7jIgMtwLd4HOt9gi3I+tlmK1UMMNfYASHEo8DMLlgqJ7FJX2VCQnM5iWYcZvw2Nl"
    "M05X8eBpTY1p8CQcf5pV0MqB0oZn4TFbv0KeE95ThKAUbHjRhpfGcyJ4vtfAO+BVcO/EpI6Pqwchbg8TcYWfjEtRKm7R6bjSztAcz0Xt19ramt"
    "D9Xq1zq+v2Tx+D9q2e5v5unVHs6hx3HZ8OPl/q6/6loe8/hL88e9+j3OofDQlv5Q=="
)
KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
STATE = {
    "kernel": KERNEL,  # a Parameter
    "kernel.T": KERNEL.T,
    "last": KERNEL.ravel()[4:],  # of one storage, all three
    "half": np.array([1.5, -2], np.float16),
    "brain": np.array([1.5, -2], jnp.bfloat16),
    "double": np.array([[0.1]]),
    "int": np.array([-7], np.int32),
    "num_batches_tracked": np.array(12345678901),
    "empty": np.zeros((0, 3), np.float32),
}
FILES = {"archive": zlib.decompress(base64.b64decode(ARCHIVE)), "sequence": zlib.decompress(base64.b64decode(SEQUENCE))}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.fixture
def reading(tmp_path):
    """Reads bytes as a file."""

    def read_bytes(content):
        (tmp_path / "file.pth").write_bytes(content)
        return read(tmp_path / "file.pth")

    return read_bytes


@pytest.mark.parametrize("kind", FILES)
def test_reads_what_torch_wrote(reading, kind):
    assert_same(reading(FILES[kind]), STATE)


@pytest.mark.parametrize("archive", [True, False])
def test_reads_what_torch_writes(tmp_path, archive):
    torch = pytest.importorskip("torch")
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5)).state_dict()
    torch.save(layers, tmp_path / "file.pth", _use_new_zipfile_serialization=archive)
    assert_same(read(tmp_path / "file.pth"), {name: tensor.numpy() for name, tensor in layers.items()})


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_off_anywhere_is_refused(reading, kind):
    content = FILES[kind]
    for length in (*range(0, len(content), 3), len(content) - 1):
        with pytest.raises(InputError, match=r"file\.pth"):
            reading(content[:length])


@pytest.mark.parametrize("kind", FILES)
def test_damage_anywhere_is_refused_or_harms_nothing(reading, kind):
    """Never another error. The archive has checksums of all numbers, in the sequence other numbers may come out."""
    content, rng, refused = FILES[kind], np.random.default_rng(0), 0
    for position in range(0, len(content), 2):
        flipped = content[position] ^ int(rng.integers(1, 256))
        try:
            found = reading(content[:position] + bytes([flipped]) + content[position + 1 :])
        except InputError:
            refused += 1
            continue
        assert all(array.size <= 6 for array in found.values())
        if kind == "archive":
            for name in found.keys() & STATE.keys():
                assert set(found[name].ravel()) <= set(STATE[name].ravel())
    assert refused > 0.15 * len(content)


def archive(program, numbers=b"", compression=zipfile.ZIP_STORED):
    """The bytes of an archive with a pickle and one storage."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as entries:
        entries.writestr("x/data.pkl", program)
        entries.writestr("x/data/0", numbers)
    return file.getvalue()


def sequence(program):
    head = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + program + pickle.dumps([], 2)


def instructions(value):
    """Those that put a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(shape=(2, 3), strides=(3, 1), offset=0, size=6, kind=b"FloatStorage", key="0"):
    """A pickle of {"w": tensor}, written by hand."""
    storage = b"(" + instructions("storage") + b"ctorch\n" + kind + b"\n" + instructions(key)
    storage += instructions("cpu") + instructions(size) + b"tQ"
    view = instructions(offset) + instructions(shape) + instructions(strides)
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + instructions("w") + rebuilt + b"s."


def test_the_hand_made_file_is_right_where_it_does_not_lie(reading):
    assert_same(reading(archive(tensor(), KERNEL.tobytes())), {"w": KERNEL})


@pytest.mark.parametrize(
    "lie, why",
    [
        ({"shape": (2, 4), "strides": (4, 1)}, "within its storage of 6"),
        ({"offset": 1}, "within its storage"),
        ({"strides": (4, 1)}, "within its storage"),
        ({"strides": (2**70, 1)}, "within its storage"),
        ({"shape": (10**9, 10**9), "strides": (0, 0)}, "within its storage"),
        ({"shape": (2, 4), "strides": (0, 1)}, "within its storage"),
        ({"shape": (0, 10**30)}, "state dict"),
        ({"strides": (-3, 1), "offset": 3}, "natural number"),
        ({"offset": -1}, "natural number"),
        ({"shape": ("2", 3)}, "natural number"),
        ({"shape": (True, 3)}, "natural number"),
        ({"shape": [2, 3]}, "short tuple"),
        ({"shape": (2**2000,) * 1000, "strides": (1,) * 1000}, "short tuple"),
        ({"strides": (1,)}, "state dict"),
        ({"size": 10**15, "shape": (10**15,), "strides": (1,)}, "24 bytes in place of 4000000000000000"),
        ({"size": 5, "shape": (5,), "strides": (1,)}, "24 bytes in place of 20"),
        ({"key": "1"}, "x/data/1"),
        ({"key": 0}, "unknown kind"),
        ({"kind": b"ComplexFloatStorage"}, "torch.ComplexFloatStorage"),
    ],
)
def test_lies_are_refused_without_memory(reading, lie, why):
    content = archive(tensor(**lie), KERNEL.tobytes())
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=why):
            reading(content)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


class Attack:
    """Makes a directory when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("form", [archive, sequence])
def test_an_attack_is_refused(reading, tmp_path, form):
    program, canary = pickle.dumps({"w": Attack(tmp_path / "canary")}, 2), tmp_path / "canary"
    pickle.loads(program)
    assert canary.is_dir(), "the attack works on who unpickles it"
    canary.rmdir()
    with pytest.raises(InputError, match=rf"'{os.mkdir.__module__}.mkdir'.*Nothing in it was run"):
        reading(form(program))
    assert not canary.exists()


@pytest.mark.parametrize(
    "program, why",
    [
        (b"\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR.", "builtins.eval"),
        (b"\x80\x02ccollections\nOrderedDict\nX\x05\0\0\0__init__s.", "state dict"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\x02i" + b"os\nsystem\n.", "INST"),
        (b"\x80\x02cos\nsystem\n.", "os.system"),
        (b"\x80\x02})" + b"\x85" * 3 * 10**5 + b"Ns.", "keys are not strings"),
        (b"\x80\x02]h\0.", "state dict"),
        (b"\x80\x02K\x01}R.", "state dict"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\n(X\x01\0\0\0xNNtRK\x01b.", "attributes"),
        (pickle.dumps({"w": 1.5}, 2), "BINFLOAT"),
        (pickle.dumps({"w": [1]}, 2), "'w' is a list"),
        (pickle.dumps({"state_dict": {}}, 2), "'state_dict' is a dict"),
        (pickle.dumps([1], 2), "holds a list"),
        (b"", "state dict"),
    ],
)
def test_programs_that_are_no_state_dict_are_refused(reading, program, why):
    for form in (archive, sequence):
        with pytest.raises(InputError, match=why):
            reading(form(program))


def test_archives_that_swell_are_refused(reading):
    with pytest.raises(InputError, match="compressed"):
        reading(archive(tensor(size=10**6), bytes(4 * 10**6), zipfile.ZIP_DEFLATED))
    content = archive(tensor(), KERNEL.tobytes())
    directory = content.rindex(b"PK\1\2")
    with pytest.raises(InputError, match="larger than the file"):
        reading(content[: directory + 24] + struct.pack("<I", 2**31) + content[directory + 28 :])


def test_big_endian_numbers_are_refused(reading):
    content = FILES["archive"]
    with zipfile.ZipFile(io.BytesIO(content)) as entries:
        parts = {entry: entries.read(entry) for entry in entries.namelist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as entries:
        for name, part in parts.items():
            entries.writestr(name, b"big" if name.endswith("byteorder") else part)
    with pytest.raises(InputError, match="little-endian"):
        reading(file.getvalue())
    with pytest.raises(InputError, match="little-endian"):
        reading(FILES["sequence"].replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", w=KERNEL)
    (tmp_path / "notes.pth").write_text("weights\n")
    for path in (tmp_path / "weights.npz", tmp_path / "notes.pth"):
        with pytest.raises(InputError, match="not a state dict"):
            read(path)
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "absent.pth")
