"""The command line: ``jaxgan COMMAND``. Every command imports what it needs when it runs, so that --help is quick."""

import dataclasses
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxgan import tuning
from jaxgan.errors import InputError, RunError, RunWarning, choose

if TYPE_CHECKING:
    from jaxgan.parallel import Engine
    from jaxgan.presets import Preset


@dataclasses.dataclass(frozen=True)
class _Where:
    """The flags that say on which devices, and in which processes, a run trains."""

    engine: str = "sharded"
    """How the devices share the work: sharded, pmap or shard_map."""
    devices: int | None = None
    """Train on the first so many devices, by default on all."""
    coordinator: str | None = None
    """HOST:PORT of process 0, to train in several processes; each is started with the same command and its own
    --process-id. SLURM, Kubernetes and TPU pods need none of the three."""
    processes: int | None = None
    """How many processes there are."""
    process_id: int | None = None
    """Of this process, from 0."""

    def engine_here(self) -> "Engine":
        """Joins the processes, and only then asks for devices."""
        from jaxgan import parallel
        from jaxgan.processes import connect

        connect(self.coordinator, self.processes, self.process_id)
        return parallel.engine(self.engine, self.devices)


def train(args: list[str]) -> None:
    """Train a GAN.

    usage: jaxgan train [PRESET] [--run DIR] [--overwrite] [--tensorboard] [--engine sharded|pmap|shard_map]
                        [--devices N] [--coordinator HOST:PORT --processes N --process-id I] [--FIELD VALUE ...]

    PRESET is a name that `jaxgan presets` lists, by default digits. Every field of its configuration can be set;
    `jaxgan train PRESET --help` lists them.
    """
    name, preset = _preset(args)

    def command(
        config: Annotated[type(preset.config), tyro.conf.arg(name="")] = preset.config,  # type: ignore  (known here alone)
        run: Path | None = None,
        overwrite: bool = False,
        tensorboard: bool = False,
        where: Annotated[_Where, tyro.conf.arg(name="")] = _Where(),
    ) -> None:
        """Train a GAN and keep everything about it in one directory.

        `jaxgan train PRESET` begins with a preset (`jaxgan presets` lists them).

        Args:
            config: What to train.
            run: Directory of the run. By default the first free one of runs/PRESET, runs/PRESET-2, ...
            overwrite: Delete a run that is in that directory already.
            tensorboard: Write TensorBoard logs too (needs the extra jaxgan[tensorboard]).
            where: On which devices, and in which processes.
        """
        from jaxgan.train import train

        chosen = where.engine_here()
        directory = run or _same(_free(Path("runs") / name))
        _run(lambda: train(config, directory, engine=chosen, overwrite=overwrite, tensorboard=tensorboard), directory)

    _cli(command, args, f"train {name}")


def resume(args: list[str]) -> None:
    """Go on with a run that was interrupted, or train it for longer."""

    def command(
        run: tyro.conf.Positional[Path],
        steps: int | None = None,
        on_nonfinite: Literal["halt", "skip", "rollback"] | None = None,
        tensorboard: bool = False,
        where: Annotated[_Where, tyro.conf.arg(name="")] = _Where(),
    ) -> None:
        """Go on with a run from its newest checkpoint, or from its start, on the same devices or on others.

        Args:
            run: Directory of the run.
            steps: Generator updates in all; by default as many as the run was to have.
            on_nonfinite: What follows a step that is not finite; by default what the run was started with.
            tensorboard: Write TensorBoard logs too.
            where: On which devices, and in which processes.
        """
        from jaxgan.rundir import open_run
        from jaxgan.train import train

        chosen = where.engine_here()
        config = open_run(run)
        changes = {"steps": steps, "on_nonfinite": on_nonfinite}
        config = dataclasses.replace(config, **{k: v for k, v in changes.items() if v is not None})
        _run(lambda: train(config, run, engine=chosen, resume=True, tensorboard=tensorboard), run)

    _cli(command, args, "resume")


def checkpoints(args: list[str]) -> None:
    """List the checkpoints of a run, verify them, delete old and faulty ones."""
    from jaxgan.cli_checkpoints import command

    _cli(command, args, "checkpoints")


def sweep(args: list[str]) -> None:
    """Train many GANs as one program: seeds, and values of float fields.

    usage: jaxgan sweep [PRESET] [--seeds N] [--sweep.FIELD VALUE VALUE ...] [--out DIR] [--devices N]
                        [--overwrite] [--FIELD VALUE ...]

    Every combination of the values is trained with every seed, all at once, and each is kept as a run of its own.
    """
    from jaxgan.config import float_fields

    name, preset = _preset(args)
    fields = [(f, tuple[float, ...], dataclasses.field(default=())) for f in float_fields(preset.config)]
    values = dataclasses.make_dataclass("Values", fields, frozen=True)

    def command(
        config: Annotated[type(preset.config), tyro.conf.arg(name="")] = preset.config,  # type: ignore  (known here alone)
        seeds: int = 1,
        sweep: values = values(),  # type: ignore  (known here alone)  # noqa: B008
        out: Path | None = None,
        devices: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Train every combination of the values with every seed, as one program.

        `jaxgan sweep PRESET` begins with a preset (`jaxgan presets` lists them).

        Args:
            config: What all have in common.
            seeds: How many seeds, counted from the configuration's.
            sweep: Values of float fields.
            out: Directory of the runs. By default the first free one of runs/PRESET-sweep, runs/PRESET-sweep-2, ...
            devices: Share the members out over the first so many devices, by default over all.
            overwrite: Delete runs that are in that directory already.
        """
        from jaxgan.sweep import sweep as train

        directory = out or _free(Path("runs") / f"{name}-sweep")
        chosen = {f: v for f, v in dataclasses.asdict(sweep).items() if v}
        train(config, directory, seeds=seeds, values=chosen, devices=devices, overwrite=overwrite)

    _cli(command, args, f"sweep {name}")


def sample(args: list[str]) -> None:
    """Draw samples from a trained GAN."""

    def command(
        run: tyro.conf.Positional[Path],
        count: int = 64,
        out: Path = Path("samples.png"),
        seed: int = 0,
        step: int | None = None,
        label: tuple[int, ...] = (),
        interpolate: bool = False,
    ) -> None:
        """Draw samples from a trained GAN as one picture.

        Args:
            run: Directory of the run.
            count: How many.
            out: The PNG file.
            seed: Seed of the latents.
            step: Draw from the checkpoint of this step; by default from the newest.
            label: Classes to ask a conditional GAN for, one row each; by default all.
            interpolate: With two labels: from one class to the other, one latent a row.
        """
        import numpy as np

        from jaxgan import pictures
        from jaxgan import sample as samples

        pictures.check_count("count", count)
        pictures.check_out(out)
        if interpolate:
            if len(label) != 2:
                raise InputError(f"--interpolate goes from one class to another; --label names {len(label)}, not 2.")
            across = pictures.columns(count)
            images = samples.interpolate(run, *label, -(-count // across), across, seed, step)
        elif len(label) > 1:
            across = -(-count // len(label))
            images = samples.draw_samples(run, across * len(label), seed, step, label=np.repeat(label, across))
        else:
            across, one = None, np.repeat(label, count) if label else None
            images = samples.draw_samples(run, count, seed, step, label=one)
        pictures.save(images, out, across)
        print(f"{len(images)} samples: {out}")

    _cli(command, args, "sample")


def modes(args: list[str]) -> None:
    """Compare methods by the modes of a ring or a grid of Gaussians that they find, over seeds."""
    from jaxgan.cli_modes import command

    _cli(command, args, "modes")


def translate(args: list[str]) -> None:
    """Translate images with a trained CycleGAN."""

    def command(
        run: tyro.conf.Positional[Path],
        images: tyro.conf.Positional[tuple[Path, ...]],
        direction: str = "ab",
        out: Path = Path("translated"),
        size: int | None = None,
        full_size: bool = False,
        batch: int = 16,
        step: int | None = None,
    ) -> None:
        """Translate images of any size with a trained CycleGAN.

        Args:
            run: Directory of the run.
            images: Image files, and folders of them.
            direction: ab or ba.
            out: Directory of the translations; each is named after its image, as PNG.
            size: Resize the shorter side of every image to so many pixels; by default to those that the run was
                trained at.
            full_size: Translate images at the size that they have.
            batch: Images of one size that are translated at a time.
            step: Translate with the checkpoint of this step; by default with the newest.
        """
        from jaxgan.translate import translate

        written = translate(
            run, images, out, direction=direction, size=size, full_size=full_size, batch=batch, step=step
        )
        print(f"{len(written)} translations: {out}")

    _cli(command, args, "translate")


def edit(args: list[str]) -> None:
    """Control the styles of a trained StyleGAN2: truncation, mixing, video, direction, project.

    usage: jaxgan edit truncation|mixing|video|direction RUN [--out FILE] [...]
           jaxgan edit project RUN IMAGES... [--out FILE] [...]
    """

    def actions() -> dict[str, Callable]:
        from jaxgan.cli_edit import ACTIONS

        return ACTIONS

    _act(edit, actions, args)


def evaluate(args: list[str]) -> None:
    """Measure how good a trained GAN is, or any images."""
    from jaxgan.cli_evaluate import command

    _cli(command, args, "evaluate")


def bench(args: list[str]) -> None:
    """Measure how fast a preset trains, and where its time goes.

    usage: jaxgan bench [PRESET] [--seconds S] [--trace DIR] [--out FILE] [--compare FILE]
                        [--engine sharded|pmap|shard_map] [--devices N] [--FIELD VALUE ...]
    """
    name, preset = _preset(args)

    def command(
        config: Annotated[type(preset.config), tyro.conf.arg(name="")] = preset.config,  # type: ignore  (known here alone)
        seconds: float = 10.0,
        trace: Path | None = None,
        out: Path | None = None,
        compare: Path | None = None,
        where: Annotated[_Where, tyro.conf.arg(name="")] = _Where(),
    ) -> None:
        """Measure images per second, time of a step, compiling, operations, memory.

        `jaxgan bench PRESET` measures a preset (`jaxgan presets` lists them).

        Args:
            config: What to train.
            seconds: How long steps are timed, once they are compiled and warm.
            trace: Write a profile into this directory, and print the operations that take most time.
            out: Write the measurement to this JSON file.
            compare: A JSON file of an earlier measurement; print the ratios.
            where: On which devices, and in which processes.
        """
        from jaxgan.cli_bench import run

        run(config, where.engine_here(), seconds, trace, out, compare)

    _cli(command, args, f"bench {name}")


def report(args: list[str]) -> None:
    """Show runs beside each other as one HTML page."""
    from jaxgan.cli_report import report

    _cli(report, args, "report")


def watch(args: list[str]) -> None:
    """Show runs in a browser while they train."""
    from jaxgan.cli_report import watch

    _cli(watch, args, "watch")


def export(args: list[str]) -> None:
    """Write a trained generator for programs without jaxgan."""
    from jaxgan.cli_export import command

    _cli(command, args, "export")


def presets(args: list[str]) -> None:
    """List the presets: what each reproduces, costs and reaches."""

    def command(markdown: bool = False) -> None:
        """List the presets.

        Args:
            markdown: Print the page docs/presets.md instead of a list for the terminal.
        """
        from rich.console import Console
        from rich.padding import Padding

        from jaxgan.presets import PRESETS, page

        if markdown:
            print(page(), end="")
            return
        console = Console(highlight=False)
        for name, preset in PRESETS.items():
            console.print(f"[bold]{name}[/bold]  {preset.cost}")
            for text in (preset.reproduces, f"-> {preset.outcome}"):
                console.print(Padding(text, (0, 0, 0, 4)))
        print("\nBeside the name: what a run costs on two CPU cores, or needs; after the arrow: what came out.")
        print("Train one with `jaxgan train PRESET`; `jaxgan train PRESET --help` lists what can be changed.")

    _cli(command, args, "presets")


def devices(args: list[str]) -> None:
    """List the devices, and say how they split a batch."""

    def command(batch: int | None = None, devices: int | None = None) -> None:
        """List the devices that JAX finds, and say how they split a batch.

        Args:
            batch: Images of one update.
            devices: As of `jaxgan train`.
        """
        from rich.console import Console
        from rich.table import Table

        from jaxgan import parallel

        engine = parallel.sharded(devices)
        table = Table("device", "kind", "process", "memory", *([] if batch is None else ["images of an update"]))
        if batch is not None:
            engine.check(batch)
        for device in engine.mesh.devices.flat:
            memory = (device.memory_stats() or {}).get("bytes_limit")
            row = [str(device), device.device_kind, str(device.process_index)]
            row.append(f"{memory / 2**30:.1f} GiB" if memory else "of the host")
            table.add_row(*row, *([] if batch is None else [str(batch // engine.size)]))
        Console().print(table)

    _cli(command, args, "devices")


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
        from rich.table import Column, Table

        from jaxgan.data import available

        table = Table("data set", "split", "examples", "shape", Column("where", overflow="fold"))
        for row in available(data_dir):
            table.add_row(row.name, row.split, str(row.size or "endless"), str(row.shape), row.where)
        Console().print(table)

    def prepare(name: tyro.conf.Positional[str], data_dir: Path | None = None) -> None:
        """Download a tfds data set and write it where jaxgan reads it (needs the extra jaxgan[prepare]).

        Args:
            name: Of the data set, as tfds calls it: mnist, cifar10, cycle_gan/facades.
            data_dir: Where to write it; by default $JAXGAN_DATA, $TFDS_DATA_DIR or ~/tensorflow_datasets.
        """
        from jaxgan.data import prepare

        print(f"{name} is ready: {prepare(name, data_dir)}")

    actions: dict[str, Callable] = {"list": list_, "prepare": prepare}
    _act(data, lambda: actions, args)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "resume": resume,
    "checkpoints": checkpoints,
    "sweep": sweep,
    "sample": sample,
    "evaluate": evaluate,
    "modes": modes,
    "translate": translate,
    "edit": edit,
    "bench": bench,
    "report": report,
    "watch": watch,
    "export": export,
    "presets": presets,
    "devices": devices,
    "data": data,
}


# They compute nothing.
_LIGHT = {"presets", "checkpoints", "data", "devices", "report", "watch"}


# They train many GANs at once.
_MEMBERS = {"sweep", "modes"}


def main(argv: list[str] | None = None) -> None:
    """Runs one command. Bad input ends with one message and status 2, a run that cannot go on with one and status 1;
    --debug shows where it came from."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    warnings.showwarning = _warn
    if not debug:
        _hush()
    try:
        if not args or args[0] in ("-h", "--help"):
            print("jaxgan: GANs as pure functions.\n\nusage: jaxgan COMMAND ...  (COMMAND --help says more)\n")
            for name, command in COMMANDS.items():
                print(f"  {name:<13}{(command.__doc__ or '').splitlines()[0]}")
            print("\n  --debug      with any command: show the whole traceback of an error")
            print("  --version    that of jaxgan")
            return
        if args[0] == "--version":
            print(f"jaxgan {importlib.metadata.version('jaxgan')}")
            return
        command = choose("command", args[0], COMMANDS)
        if argv is None and args[0] not in _LIGHT and not {"-h", "--help"} & set(args):
            tuning.restart()
            tuning.tune()
            if args[0] in _MEMBERS:
                tuning.share_cores()
        command(args[1:])
        sys.stdout.flush()
    except (InputError, RunError) as error:
        if debug:
            raise
        print(f"jaxgan: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except (KeyboardInterrupt, SystemExit) as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else error.code
        if argv is None and status in (129, 130, 143):
            _end(status)
        sys.exit(status)
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`). Python would say so again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _end(status: int) -> None:
    """Ends the process of a command that a signal ended: no second one, and no compiler, changes or delays that."""
    import jax

    if not jax.distributed.is_initialized():  # others wait for each other
        sys.stdout.flush()
        os._exit(status)


def _hush() -> None:
    """What goes wrong in Orbax's threads is raised in this one as well, and said once."""
    for name in ("absl", "asyncio", "concurrent.futures"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    usual = sys.unraisablehook
    sys.unraisablehook = lambda args: None if "Event loop is closed" in str(args.exc_value) else usual(args)


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    """A warning of a run is for its user; where in the code it came from is not."""
    text = (
        f"jaxgan: {message}" if category is RunWarning else warnings.formatwarning(message, category, filename, lineno)
    )
    print(text.rstrip(), file=sys.stderr)


def _cli(command: Callable, args: list[str], name: str) -> None:
    tyro.cli(command, args=args, prog=f"jaxgan {name}")


def _act(command: Callable, actions: Callable[[], dict[str, Callable]], args: list[str]) -> None:
    """Runs the action that the arguments begin with, or prints the command's own text."""
    if not args or args[0] in ("-h", "--help"):
        print("\n".join(line.removeprefix("    ") for line in (command.__doc__ or "").splitlines()))
        return
    name = command.__name__
    _cli(choose(f"action of `jaxgan {name}`", args[0], actions()), args[1:], f"{name} {args[0]}")


def _preset(args: list[str]) -> tuple[str, "Preset"]:
    """Takes the name of a preset from the arguments, if they begin with one."""
    from jaxgan.presets import PRESETS

    name = args.pop(0) if args and not args[0].startswith("-") else "digits"
    return name, choose("preset", name, PRESETS)


def _run(job: Callable[[], object], run: Path) -> None:
    """Trains, and says what is there now and what to do next."""
    from jaxgan.interruption import deaf

    try:
        job()
    except (KeyboardInterrupt, SystemExit):
        with deaf():
            _report(run, interrupted=True)
            raise
    _report(run, interrupted=False)


def _report(run: Path, interrupted: bool) -> None:
    from jaxgan.processes import first
    from jaxgan.rundir import open_run

    if not first():
        return
    if interrupted and not any((run / "checkpoints").glob("[0-9]*")):
        print("interrupted; nothing was saved, because no step had been trained")
        return
    print(f"{'interrupted and saved' if interrupted else 'finished'}: {run}")
    print(f"  pictures     {run / 'samples'}")
    print(f"  metrics      {run / 'metrics.jsonl'}")
    print(f"  checkpoints  {run / 'checkpoints'}")
    print(f"  next         jaxgan {open_run(run).use.format(run=run)}")
    print(f"               jaxgan resume {run}{'' if interrupted else ' --steps N'}")


def _same(run: Path) -> Path:
    """The first process's choice: a directory that is free for one may be made before another looks."""
    from jaxgan.processes import same_text

    return Path(same_text(str(run)))


def _free(run: Path) -> Path:
    number, free = 1, run
    while free.exists():
        number += 1
        free = run.with_name(f"{run.name}-{number}")
    return free
