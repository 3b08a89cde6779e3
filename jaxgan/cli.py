"""The command line: ``jaxgan COMMAND``. Every command imports what it needs when it runs, so that --help is quick."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from jaxgan.errors import InputError, choose


def train(args: list[str]) -> None:
    """Train a GAN.

    usage: jaxgan train [PRESET] [--run DIR] [--overwrite] [--tensorboard] [--FIELD VALUE ...]

    PRESET is a name that `jaxgan presets` lists, by default digits. Every field of its configuration can be set;
    `jaxgan train PRESET --help` lists them.
    """
    from jaxgan.presets import PRESETS

    name = args.pop(0) if args and not args[0].startswith("-") else "digits"
    preset = choose("preset", name, PRESETS)

    def command(
        config: Annotated[type(preset.config), tyro.conf.arg(name="")] = preset.config,  # type: ignore  (known here alone)
        run: Path | None = None,
        overwrite: bool = False,
        tensorboard: bool = False,
    ) -> None:
        """Train a GAN and keep everything about it in one directory.

        Args:
            config: What to train.
            run: Directory of the run. By default the first free one of runs/PRESET, runs/PRESET-2, ...
            overwrite: Delete a run that is in that directory already.
            tensorboard: Write TensorBoard logs too (needs the extra jaxgan[tensorboard]).
        """
        from jaxgan.train import train

        directory = _free(Path("runs") / name) if run is None else run
        _run(lambda: train(config, directory, overwrite=overwrite, tensorboard=tensorboard), directory)

    _cli(command, args, f"train {name}")


def resume(args: list[str]) -> None:
    """Go on with a run that was interrupted, or train it for longer."""

    def command(run: tyro.conf.Positional[Path], steps: int | None = None, tensorboard: bool = False) -> None:
        """Go on with a run from its newest checkpoint.

        Args:
            run: Directory of the run.
            steps: Generator updates in all; by default as many as the run was to have.
            tensorboard: Write TensorBoard logs too.
        """
        import dataclasses

        from jaxgan.train import open_run, train

        config = open_run(run)
        config = config if steps is None else dataclasses.replace(config, steps=steps)
        _run(lambda: train(config, run, resume=True, tensorboard=tensorboard), run)

    _cli(command, args, "resume")


def sample(args: list[str]) -> None:
    """Draw samples from a trained GAN."""

    def command(
        run: tyro.conf.Positional[Path],
        count: int = 64,
        out: Path = Path("samples.png"),
        seed: int = 0,
        step: int | None = None,
    ) -> None:
        """Draw samples from a trained GAN as one picture.

        Args:
            run: Directory of the run.
            count: How many.
            out: The PNG file.
            seed: Seed of the latents.
            step: Draw from the checkpoint of this step; by default from the newest.
        """
        from jaxgan import pictures
        from jaxgan.train import draw_samples

        pictures.save(draw_samples(run, count, seed, step), out)
        print(f"{count} samples: {out}")

    _cli(command, args, "sample")


def presets(args: list[str]) -> None:
    """List the presets: what each reproduces, costs and reaches."""

    def command() -> None:
        """List the presets."""
        from rich.console import Console
        from rich.table import Table

        from jaxgan.presets import PRESETS

        table = Table("preset", "reproduces", "cost (2 cores)", "outcome")
        for name, preset in PRESETS.items():
            table.add_row(name, preset.reproduces, preset.cost, preset.outcome)
        Console().print(table)
        print("Train one with `jaxgan train PRESET`; `jaxgan train PRESET --help` lists what can be changed.")

    _cli(command, args, "presets")


def data(args: list[str]) -> None:
    """Prepare tfds data sets, and list those that are there.

    usage: jaxgan data list [--data-dir DIR]
           jaxgan data prepare NAME [--data-dir DIR]
    """

    def list_(data_dir: Path | None = None) -> None:
        """List the data sets that can be trained on as they are.

        Args:
            data_dir: Where prepared tfds data sets are; by default $JAXGAN_DATA, $TFDS_DATA_DIR or
                ~/tensorflow_datasets.
        """
        from rich.console import Console
        from rich.table import Table

        from jaxgan.data import available

        table = Table("data set", "split", "examples", "shape", "where")
        for row in available(data_dir):
            table.add_row(*map(str, row))
        Console().print(table)

    def prepare(name: tyro.conf.Positional[str], data_dir: Path | None = None) -> None:
        """Download a tfds data set and write it where jaxgan reads it (needs the extra jaxgan[prepare]).

        Args:
            name: Of the data set, as tfds calls it: mnist, cifar10, cycle_gan/facades.
            data_dir: Where to write it; by default $JAXGAN_DATA, $TFDS_DATA_DIR or ~/tensorflow_datasets.
        """
        from jaxgan.data import prepare

        prepare(name, data_dir)

    actions: dict[str, Callable] = {"list": list_, "prepare": prepare}
    if not args or args[0] in ("-h", "--help"):
        return _help(data)
    return _cli(choose("action of `jaxgan data`", args[0], actions), args[1:], f"data {args[0]}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "presets": presets,
    "data": data,
}


def main(argv: list[str] | None = None) -> None:
    """Runs one command. Bad input ends with one message and status 2; --debug shows where it came from."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    try:
        if not args or args[0] in ("-h", "--help"):
            print("jaxgan: GANs as pure functions.\n\nusage: jaxgan COMMAND ...  (COMMAND --help says more)\n")
            for name, command in COMMANDS.items():
                print(f"  {name:<10}{(command.__doc__ or '').splitlines()[0]}")
            print("\n  --debug   with any command: show the whole traceback of an error")
            return
        choose("command", args[0], COMMANDS)(args[1:])
    except InputError as error:
        if debug:
            raise
        print(f"jaxgan: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _cli(command: Callable, args: list[str], name: str) -> None:
    tyro.cli(command, args=args, prog=f"jaxgan {name}")


def _help(command: Callable) -> None:
    print("\n".join(line.removeprefix("    ") for line in (command.__doc__ or "").splitlines()))


def _run(job: Callable[[], object], run: Path) -> None:
    """Trains, and says what is there now and what to do next."""
    interruption = None
    try:
        job()
    except (KeyboardInterrupt, SystemExit) as error:
        interruption = error
    if interruption and not any((run / "checkpoints").glob("[0-9]*")):
        print("interrupted; nothing was saved, because no step had been trained")
        raise interruption
    print(f"{'interrupted and saved' if interruption else 'finished'}: {run}")
    print(f"  pictures     {run / 'samples'}")
    print(f"  metrics      {run / 'metrics.jsonl'}")
    print(f"  checkpoints  {run / 'checkpoints'}")
    print(f"  next         jaxgan sample {run} --count 64 --out grid.png")
    print(f"               jaxgan resume {run}{'' if interruption else ' --steps N'}")
    if interruption:
        raise interruption


def _free(run: Path) -> Path:
    number, free = 1, run
    while free.exists():
        number += 1
        free = run.with_name(f"{run.name}-{number}")
    return free
