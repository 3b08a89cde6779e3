"""Two sets of images, of which one is to be translated into the other."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxgan.data import tfds
from jaxgan.data.folder import folder, image_files, printable
from jaxgan.data.records import Source, Synthetic
from jaxgan.data.sources import check_size
from jaxgan.errors import InputError, closest

_SIDES = ("a", "b")


class Domains(NamedTuple):
    """Images of two domains.

    Attributes:
      name: for messages.
      a: the images of domain a to train on, squares of ``load`` pixels, from which crops are taken.
      b: those of domain b; another number of them, unless they are pairs.
      size: side of the crops in pixels.
      flip: mirror every other crop.
      paired: whether image i of a and image i of b belong together, and are cropped and mirrored alike.
      shown: images of a and of b of that size, not cropped, for pictures: test images where there are any.
    """

    name: str
    a: Source
    b: Source
    size: int
    flip: bool
    paired: bool
    shown: tuple[Source, Source]

    @property
    def shape(self) -> dict[str, tuple[int, int, int]]:
        """(height, width, channels) of the crops of each domain."""
        return {side: (self.size, self.size, source.shape[2]) for side, source in (("a", self.a), ("b", self.b))}

    @property
    def classes(self) -> None:
        """There are no labels."""
        return


# What a run can be trained on.
AnySource: TypeAlias = Source | Synthetic | Domains


def domains(
    name: str | None = None,
    *,
    a: str | Path | None = None,
    b: str | Path | None = None,
    data_dir: str | Path | None = None,
    size: int = 256,
    load_size: int | None = None,
    flip: bool = True,
    paired: bool = False,
) -> Domains:
    """Two domains by name, or from two folders.

    As in the paper's code every image is resized, whatever its shape, to a square of ``load_size`` pixels (bicubic);
    training takes random crops of ``size`` pixels from it and mirrors every other one.

    Args:
      name: a folder with folders trainA and trainB, and perhaps testA and testB; or a prepared tfds data set with such
        splits, as "facades" or "cycle_gan/horse2zebra".
      a: a folder of images of domain a, instead of a name; test images are looked for in its neighbour testA if it is
        called trainA.
      b: the same of domain b.
      data_dir: where tfds data sets are, as for `load`.
      size: side of the crops in pixels.
      load_size: side of the squares before they are cropped, by default 286 pixels for crops of 256 and so on.
      flip: mirror every other crop.
      paired: keep pairs together: those with one feature "pair" in a tfds data set, with one name in folders.

    Returns:
      The domains; both are grey only if all images are.

    Raises:
      InputError: for a missing or empty side, images that are smaller than the crops or cannot be read, which are
        named, and pairs that do not match.

    >>> domains("facades", size=64).shape  # doctest: +SKIP
    {'a': (64, 64, 3), 'b': (64, 64, 3)}
    """
    check_size(size)
    load_size = load_size or round(size * 286 / 256)
    check_size(load_size)
    if load_size < size:
        raise InputError(f"load_size is {load_size}; crops of {size} pixels need at least {size}.")
    label, train, test = _find(name, a, b, data_dir)
    sources = [side.read(load_size, size) for side in train]
    shown = [side.read(size, 1) for side in test or train]
    if paired:
        sources, shown = _match(train, sources), _match(test or train, shown)
    grey = all(source.shape[2] == 1 for source in (*sources, *shown))
    sources, shown = ([source if grey else _rgb(source) for source in each] for each in (sources, shown))
    return Domains(label, *sources, size, flip, paired, (shown[0], shown[1]))


class _Side(NamedTuple):
    """Where the images of one domain are.

    Attributes:
      read: (side of the square, fewest pixels of a side) -> the images.
      keys: () -> what tells which images belong together.
    """

    read: Callable[[int, int], Source]
    keys: Callable[[], list]


def _find(
    name: str | None, a: str | Path | None, b: str | Path | None, data_dir: str | Path | None
) -> tuple[str, list[_Side], list[_Side] | None]:
    """A name for messages, the sides to train on, and those to test on if there are any."""
    if a is not None or b is not None:
        if a is None or b is None:
            raise InputError(
                f"A translation has two sides; only {'a' if b is None else 'b'} is given. Give both: --a DIR --b DIR."
            )
        folders = [Path(a).expanduser(), Path(b).expanduser()]
        test = [path.with_name(f"test{side}") for path, side in zip(folders, "AB", strict=True)]
        named = [path.name for path in folders] == ["trainA", "trainB"]
        there = named and all(path.is_dir() for path in test)
        return f"{a} and {b}", [*map(_folder, folders)], [*map(_folder, test)] if there else None
    if name is None:
        raise InputError("Name a data set of two domains, or give two folders: --a DIR --b DIR.")
    prepared = tfds.prepared(data_dir)
    if name in prepared:
        return name, *_prepared(name, prepared[name])
    root = Path(name).expanduser()
    if not root.is_dir():
        hint = closest(name, prepared) if prepared else "No data set is prepared."
        raise InputError(
            f"There is no data set and no folder {name!r} with images of two domains. {hint} A folder holds folders "
            "trainA and trainB; or give two folders: --a DIR --b DIR."
        )
    missing = [each for each in ("trainA", "trainB") if not (root / each).is_dir()]
    if missing:
        raise InputError(
            f"{root} has no folder {' and no folder '.join(missing)}. Put the images of the two domains into "
            f"{root}/trainA and {root}/trainB, or name two folders: --a DIR --b DIR."
        )
    test = [root / each for each in ("testA", "testB")]
    there = all(path.is_dir() for path in test)
    return name, [_folder(root / "trainA"), _folder(root / "trainB")], [*map(_folder, test)] if there else None


def _folder(path: Path) -> _Side:
    def keys():
        return [str(file.relative_to(path).with_suffix("")) for file in image_files(path)]

    return _Side(lambda side, least: folder(path, side, stretch=True, least=least), keys)


def _prepared(name: str, path: Path) -> tuple[list[_Side], list[_Side] | None]:
    splits = [*tfds.open_builder(path).info.splits]
    missing = [split for split in ("trainA", "trainB") if split not in splits]
    if missing:
        raise InputError(
            f"The data set {name} has no two domains: it has the splits {', '.join(splits)}, and not "
            f"{' and '.join(missing)}."
        )

    def side(split: str) -> _Side:
        return _Side(
            lambda side, least: tfds.prepared_source(path, split, side, stretch=True, least=least),
            lambda: tfds.pairs(path, split).tolist(),
        )

    test = [side("testA"), side("testB")] if {"testA", "testB"} <= {*splits} else None
    return [side("trainA"), side("trainB")], test


def _match(sides: list[_Side], sources: list[Source]) -> list[Source]:
    """Brings both sides into the order of what their pairs have in common."""
    keys = [side.keys() for side in sides]
    alone = sorted(map(str, {*keys[0]} ^ {*keys[1]}))
    if alone or len({*keys[0]}) < len(keys[0]) or len(keys[0]) != len(keys[1]):
        raise InputError(
            f"{sources[0].name} and {sources[1].name} are no pairs: every image needs one partner of the same name. "
            f"There are {len(keys[0])} and {len(keys[1])} images, {len(alone)} names occur on one side only"
            f"{': ' + ', '.join(map(printable, alone[:10])) if alone else ''}. Add or remove images, or train without "
            "pairs."
        )
    return [_reorder(source, np.argsort(np.asarray(k), kind="stable")) for source, k in zip(sources, keys, strict=True)]


def _reorder(source: Source, order: np.ndarray) -> Source:
    return source._replace(read=lambda indices: source.read(order[np.asarray(indices)]))


def _rgb(source: Source) -> Source:
    """Grey images as coloured ones."""
    if source.shape[2] == 3:
        return source

    def read(indices):
        return {"image": np.repeat(source.read(indices)["image"], 3, axis=-1)}

    return source._replace(shape=(*source.shape[:2], 3), read=read)
