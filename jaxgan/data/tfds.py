"""Data sets that tensorflow_datasets (tfds) has prepared, read without TensorFlow."""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from tensorflow_datasets.core import proto

from jaxgan.data.records import Source, decode, fit
from jaxgan.errors import InputError

_FORMAT = tfds.core.FileFormat.ARRAY_RECORD
# The names of tfds' own features, those that they had before as well.
_FEATURES = frozenset(
    name
    for each in vars(tfds.features).values()
    if isinstance(each, type) and issubclass(each, tfds.features.FeatureConnector)
    for name in (f"{each.__module__}.{each.__name__}", *vars(each).get("ALIASES", ()))
)
_messages: Any = proto  # whose attributes are made when it is imported
# Bytes of a description.
_MOST = 1 << 26


def data_dirs(data_dir: str | Path | None = None) -> list[Path]:
    """Where prepared data sets are looked for, the first hit counts, and the first is written to.

    Args:
      data_dir: alone, if given; else the environment's JAXGAN_DATA and TFDS_DATA_DIR, and then
        ~/tensorflow_datasets.
    """
    if data_dir is not None:
        return [Path(data_dir).expanduser()]
    named = [os.environ.get("JAXGAN_DATA"), os.environ.get("TFDS_DATA_DIR")]
    return [Path(path).expanduser() for path in (*named, "~/tensorflow_datasets") if path]


def builders() -> list[str]:
    """The names of all data sets that tfds can prepare, without asking the network."""
    return tfds.list_builders(with_community_datasets=False)


def prepared(data_dir: str | Path | None = None) -> dict[str, Path]:
    """The prepared data sets of any kind and file format: name -> folder of the newest version.

    The name is "mnist", or "lsun/bedroom" for a data set with configs.
    """
    found: dict[str, Path] = {}
    for root in data_dirs(data_dir):
        files = [*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json")]
        here: dict[str, list[Path]] = {}
        for folder in (file.parent for file in files if tfds.core.Version.is_valid(file.parent.name)):
            here.setdefault(folder.parent.relative_to(root).as_posix(), []).append(folder)
        newest = {
            name: max(folders, key=lambda folder: tfds.core.Version(folder.name)) for name, folders in here.items()
        }
        found = newest | found
    return dict(sorted(found.items()))


def command(name: str, data_dir: str | Path | None = None) -> str:
    """The shell command that prepares a data set."""
    return f"jaxgan data prepare {name} --data-dir {shlex.quote(str(data_dirs(data_dir)[0]))}"


def open_builder(folder: Path) -> tfds.core.DatasetBuilder:
    """Opens a prepared data set from its files alone, without the code that prepared it.

    Raises:
      InputError: if its description is broken, or asks for more than tfds' own features and files in the folder; if it
        is not stored as array_record.
    """
    try:
        _check(folder)
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # of many types: tfds', protobuf's, and those of a description that contradicts itself
        raise InputError(
            f"The data set in {folder} cannot be opened: {str(error)[:400]!r}. Nothing that it names was run. Delete "
            "the folder, and prepare the data set anew."
        ) from error
    formats = builder.info.available_file_formats()
    if _FORMAT not in formats:
        raise InputError(
            f"{builder.info.full_name} in {folder} is stored as "
            f"{', '.join(sorted(each.value for each in formats))}, which cannot be read without "
            f"TensorFlow; {_FORMAT.value} can. Prepare it elsewhere, or delete that folder first: "
            f"jaxgan data prepare {builder.info.full_name.rpartition('/')[0]} --data-dir DIR"
        )
    return builder


def _check(folder: Path) -> None:
    """Refuses a description that tfds would follow to code that it imports by name, or out of the folder.

    Raises:
      ValueError: and errors of other types, if the description is broken.
    """
    # A pipe would keep whoever opens it waiting, a device may have no end.
    odd = [file.name for file in folder.iterdir() if not file.is_file() and not file.is_dir()]
    if odd:
        raise ValueError(f"{odd[0]} is no regular file")
    info: Any = json_format.Parse(_text(folder / "dataset_info.json"), _messages.dataset_info_pb2.DatasetInfo())
    for name in (info.name, *(split.name for split in info.splits)):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"dataset_info.json has the name {name}")
    for split in info.splits:
        # Without specifications of a format, which could ask for any number of characters.
        if not re.fullmatch(r"(\w|[.-]|\{(DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\})*",
                            split.filepath_template):  # fmt: skip
            raise ValueError(f"dataset_info.json has the file names {split.filepath_template}")
    described = [info.features] if info.HasField("features") else []
    if (folder / "features.json").exists():
        described.append(json_format.Parse(_text(folder / "features.json"), _messages.feature_pb2.Feature()))
    for feature in described:
        for name in _classes(json_format.MessageToDict(feature)):
            if name not in _FEATURES:
                raise ValueError(f"it has the feature {name}, which is none of tensorflow_datasets")


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST:
        raise ValueError(f"{path.name} has more than {_MOST} bytes")
    return path.read_text()


def _classes(feature: Any) -> Iterator[str]:
    """The names of classes in a description of features."""
    if isinstance(feature, dict):
        for key, value in feature.items():
            if key == "pythonClassName" and isinstance(value, str):
                yield value
            elif key == "jsonFeature":  # text that describes features of any class
                yield key
            else:
                yield from _classes(value)


def features(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """The features of a data set by name."""
    found: Any = builder.info.features or {}
    return dict(found)


def image_feature(builder: tfds.core.DatasetBuilder) -> tuple[str, Any]:
    """Where the images are: the feature "image", or the one feature that is an image.

    Returns:
      Its name, and the feature.

    Raises:
      InputError: if there is none, or several and none is called "image".
    """
    images = {key: feature for key, feature in features(builder).items() if isinstance(feature, tfds.features.Image)}
    if "image" in images or len(images) == 1:
        key = "image" if "image" in images else next(iter(images))
        return key, images[key]
    raise InputError(
        f"The data set {builder.info.full_name} has no image feature. It has "
        f"{', '.join(sorted(features(builder)))}; one must be an image, and be called 'image' if "
        "there are several."
    )


def prepared_source(
    folder: Path, split: str = "train", image_size: int | None = None, *, stretch: bool = False, least: int = 1
) -> Source:
    """A split of a data set that is prepared.

    Args:
      folder: of the version, with its dataset_info.json.
      split: as tfds writes splits: "train", "train[:80%]", "train+test".
      image_size: side in pixels that the centre square of each image is resized to, antialiased.
      stretch: resize the whole image to that square, whatever its shape.
      least: the fewest pixels that a side of an image may have, where the data set says how many they have.

    Returns:
      A source; its labels are the feature "label" where that is a class.

    Raises:
      InputError: for another file format, an unknown split, no image feature, images of other types
        than uint8, too small ones, or of several sizes without image_size, and for records that cannot be read;
        ``read`` raises it for images that cannot be used.
    """
    builder = open_builder(folder)
    name, splits = builder.info.full_name, builder.info.splits
    key, feature = image_feature(builder)
    shape, dtype = feature.shape, np.dtype(feature.np_dtype)
    if dtype != np.uint8 or shape[2] is None:
        raise InputError(
            f"The images of {name} are {dtype} of shape {shape}. Allowed: uint8 with a known "
            "number of channels. Convert them to a folder of images, or use from_arrays."
        )
    if image_size is None and None in shape:
        raise InputError(
            f"The images of {name} have several sizes. Set image_size (in pixels), which crops and resizes them all."
        )
    if any(side is not None and side < least for side in shape[:2]):
        raise InputError(
            f"The images of {name} have {shape[0]} x {shape[1]} pixels, fewer than {least}. Set image_size to "
            f"{min(shape[:2])} or less."
        )
    try:
        splits[split]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"The data set {name} has no split {split!r}. It has {', '.join(splits)}; "
            "parts and sums are written as 'train[:80%]' and 'train+test'."
        ) from error
    label = features(builder).get("label")
    classes = label.num_classes if isinstance(label, tfds.features.ClassLabel) else None
    channels = shape[2]
    size, rows_of = _records(builder, split, [key] if classes is None else [key, "label"])

    def pixels(index: int, content: memoryview) -> np.ndarray:
        try:
            image = decode(io.BytesIO(content))
        except Exception as error:  # Pillow's decoders raise errors of many types
            raise InputError(
                f"The image {index} of the split {split!r} of {name} in {folder} cannot be used: {str(error)[:200]!r}. "
                "Prepare the data set anew."
            ) from error
        if image_size is None and (image.height, image.width) != shape[:2]:
            raise InputError(
                f"The image {index} of the split {split!r} of {name} in {folder} has {image.width}x{image.height} "
                f"pixels in place of {shape[1]}x{shape[0]}. Set image_size, or prepare the data set anew."
            )
        return fit(image, channels, image_size, stretch=stretch)

    def read(indices):
        rows = rows_of(indices)
        batch = {"image": np.stack([pixels(int(i), row[key]) for i, row in zip(indices, rows, strict=True)])}
        if classes is not None:
            batch["label"] = np.array([row["label"] for row in rows], np.int32)
        return batch

    final = shape if image_size is None else (image_size, image_size, channels)
    return Source(name, final, size, classes, read)


def pairs(folder: Path, split: str) -> np.ndarray:
    """The feature "pair" of each example of a split, i[N]: equal in the two splits where two images belong together.

    Raises:
      InputError: if the data set has no such feature.
    """
    builder = open_builder(folder)
    names = features(builder)
    if "pair" not in names:
        raise InputError(
            f"The data set {builder.info.full_name} does not tell which images are pairs: it has no feature 'pair', "
            f"only {', '.join(sorted(names))}. Train without pairs (paired=0), or from two folders with equal names."
        )
    size, rows_of = _records(builder, split, ["pair"])
    return np.array([row["pair"] for row in rows_of(range(size))])


def _records(
    builder: tfds.core.DatasetBuilder, split: str, names: Sequence[str]
) -> tuple[int, Callable[[Iterable[int]], list[dict[str, Any]]]]:
    """The number of records of a split, and ``indices -> records``, with these features alone: images and numbers.

    Images are left as the bytes of their files, to be decoded in one way on every machine; tfds would decode those that
    nobody asked for, too, in any format that Pillow or OpenCV knows.
    """
    wanted = {name: feature for name, feature in features(builder).items() if name in names}
    parser: Any = tfds.features.FeaturesDict(wanted)
    skip = {name: tfds.decode.SkipDecoding() for name, f in wanted.items() if isinstance(f, tfds.features.Image)}

    @contextlib.contextmanager
    def reading():
        try:
            yield
        except Exception as error:  # of many types: array_record's, protobuf's and tfds'
            raise InputError(
                f"The records of {builder.info.full_name} in {builder.data_path} cannot be read: "
                f"{str(error)[:200]!r}. Prepare the data set anew."
            ) from error

    with reading():
        parts = builder.info.splits[split].file_instructions
        records: Any = builder.as_data_source(
            split=split,  # pyright: ignore[reportCallIssue]  (hidden by its decorator)
            deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
        )

    def read(indices: Iterable[int]) -> list[dict[str, Any]]:
        with reading():
            found = records.__getitems__([int(i) for i in indices])
            rows = [parser.deserialize_example_np(each, decoders=skip) for each in found]
            return [{k: memoryview(v) if k in skip else np.int64(v) for k, v in row.items()} for row in rows]

    # The description says how many records a file has: its last one shows whether it has so many.
    read(np.cumsum([part.take for part in parts]) - 1)
    return len(records), read
