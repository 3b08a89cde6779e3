"""Data sets that tensorflow_datasets (tfds) has prepared, read without TensorFlow."""

import io
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxgan.data.records import Source, fit
from jaxgan.errors import InputError

_FORMAT = tfds.core.FileFormat.ARRAY_RECORD


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
      InputError: if it is not stored as array_record.
    """
    builder = tfds.builder_from_directory(folder)
    formats = builder.info.available_file_formats()
    if _FORMAT not in formats:
        raise InputError(
            f"{builder.info.full_name} in {folder} is stored as "
            f"{', '.join(sorted(each.value for each in formats))}, which cannot be read without "
            f"TensorFlow; {_FORMAT.value} can. Prepare it elsewhere, or delete that folder first: "
            f"jaxgan data prepare {builder.info.full_name.rpartition('/')[0]} --data-dir DIR"
        )
    return builder


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
        than uint8, too small ones, or of several sizes without image_size.
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
    # The files are decoded here: in one way on every machine, whether OpenCV is there or not.
    records: Any = builder.as_data_source(
        split=split,  # pyright: ignore[reportCallIssue]  (hidden by its decorator)
        decoders={key: tfds.decode.SkipDecoding()},
    )

    def read(indices):
        rows = records.__getitems__([int(i) for i in indices])
        images = [fit(Image.open(io.BytesIO(row[key])), channels, image_size, stretch=stretch) for row in rows]
        batch = {"image": np.stack(images)}
        if classes is not None:
            batch["label"] = np.array([row["label"] for row in rows], np.int32)
        return batch

    shape = shape if image_size is None else (image_size, image_size, channels)
    return Source(name, shape, len(records), classes, read)


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
    skip: Any = {key: tfds.decode.SkipDecoding() for key, f in names.items() if isinstance(f, tfds.features.Image)}
    records: Any = builder.as_data_source(split=split, decoders=skip)  # pyright: ignore[reportCallIssue]
    return np.array([int(row["pair"]) for row in records.__getitems__(list(range(len(records))))])
