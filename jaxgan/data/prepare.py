"""Preparing data sets, the one thing that needs TensorFlow, and listing those that are there."""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets

from jaxgan.data import tfds
from jaxgan.data.sources import EMBEDDED, STACKED, STACKED_SIZE, SYNTHETIC
from jaxgan.errors import InputError, similar


class Row(NamedTuple):
    """A split of a data set: number of images (None: endless), shape of one, and place."""

    name: str
    split: str
    size: int | None
    shape: tuple[int | None, ...]
    where: str


def prepare(name: str, data_dir: str | Path | None = None) -> Path:
    """Downloads a data set and writes it as array_record files, which are read without TensorFlow.

    Args:
      name: of a tfds image data set, as "mnist" or "lsun/bedroom".
      data_dir: where to; None: the first of the environment's JAXGAN_DATA, TFDS_DATA_DIR and
        ~/tensorflow_datasets.

    Returns:
      The folder of the data set.

    Raises:
      InputError: for a name that tfds does not have, without TensorFlow, if tfds has no way to get
        the data, or if the data set is there in another file format.
    """
    if name in EMBEDDED or name in SYNTHETIC:
        raise InputError(f"The data set {name} needs no preparing.")
    if name == STACKED:
        raise InputError(f"{STACKED} is made of mnist as it is read. Prepare that: jaxgan data prepare mnist")
    root = tfds.data_dirs(data_dir)[0]
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; data sets are written to a directory. Name one with --data-dir.")
    present = tfds.prepared(root).get(name)
    if present is not None:
        tfds.open_builder(present)
        return present
    names = tfds.builders()
    if name.partition("/")[0] not in names:
        raise InputError(
            f"tensorflow_datasets has no data set {name!r}. {similar(name, names)}"
            "Its catalog: https://www.tensorflow.org/datasets/catalog/overview"
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"tensorflow_datasets prepares {name} with TensorFlow, which is not installed:\n"
            "  pip install 'jaxgan[prepare]'"
        )
    try:
        builder = tensorflow_datasets.builder(name, data_dir=root, file_format="array_record")
        tfds.image_feature(builder)
        builder.download_and_prepare()
    except InputError:
        raise
    except Exception as error:  # of any type: the network, a file to fetch by hand, a disk that is full
        raise InputError(
            f"tensorflow_datasets cannot prepare {name} in {root}: {type(error).__name__}: {error}"
        ) from error
    return Path(builder.data_path)


def available(data_dir: str | Path | None = None) -> list[Row]:
    """The data sets that `load` can read now: embedded, synthetic and prepared.

    Args:
      data_dir: where tfds data sets are, as for `load`.

    Returns:
      A row for each split; prepared data sets that are no images or no array_record are left out.
    """
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise InputError(f"There is no directory {data_dir}. Name one with --data-dir, or leave it out.")
    rows = []
    for name, make in EMBEDDED.items():
        source = make()
        rows.append(Row(name, "train", source.size, source.shape, "embedded"))
    rows += [Row(name, "train", None, make().shape, "synthetic") for name, make in SYNTHETIC.items()]
    for name, folder in tfds.prepared(data_dir).items():
        try:
            builder = tfds.open_builder(folder)
            _, feature = tfds.image_feature(builder)
        except InputError:
            continue
        for split, info in builder.info.splits.items():
            rows.append(Row(name, split, info.num_examples, feature.shape, str(folder)))
            if name == "mnist":
                rows.append(Row(STACKED, split, STACKED_SIZE, (*feature.shape[:2], 3), "three of mnist"))
    return rows
