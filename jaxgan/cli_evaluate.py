"""``jaxgan evaluate``: metrics of a run, or of images of any origin."""

import json
import math
from pathlib import Path

import tyro

from jaxgan.errors import InputError


def command(
    run: tyro.conf.Positional[Path | None] = None,
    images: str | None = None,
    reference: str | None = None,
    metrics: str | None = None,
    samples: int | None = None,
    seeds: int = 1,
    step: int | None = None,
    split: str | None = None,
    image_size: int | None = None,
    extractor: str | None = None,
    weights: Path | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
) -> None:
    """Metrics of a run's samples against its data, or of a folder of images against another.

    Args:
        run: Directory of the run.
        images: Instead of a run: a folder of images, or the name of a data set.
        reference: What to compare them with: a folder of real images, or the name of a data set.
        metrics: Names with commas between them: fid, kid, prdc, swd, authenticity, diversity, intra_fid, accuracy,
            inception_score, modes. By default fid,kid,prdc; of points modes,swd.
        samples: How many to draw; by default 10000, of points 2500.
        seeds: Draw so many sets of samples, and give the mean and the deviation over them.
        step: Evaluate the checkpoint of this step; by default the newest.
        split: Of the data; by default the one of the training.
        image_size: With --images: crop and resize all images to so many pixels.
        extractor: What looks at the images: digits, stacked_digits or inception; by default what suits the data.
        weights: File of the weights of inception; by default they are downloaded once.
        data_dir: With --images: where tfds data sets are prepared.
        out: The JSON file. By default RUN/evaluations/STEP.json, or evaluation.json; a picture of the real images that
            are nearest to the first samples stands beside it.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from jaxgan import pictures
    from jaxgan.evaluate import evaluate, evaluate_images
    from jaxgan.metrics.extractors import extractor as extractor_of

    _check(run, images, reference)
    given: dict[str, object] = {"samples": samples, "seeds": None if seeds == 1 else seeds, "step": step}
    if run is not None:
        given = {"image-size": image_size, "data-dir": data_dir}
    _check_unused(run, given)
    if out is not None:
        pictures.check_out(out, ".json")
    names = None if metrics is None else [name.strip() for name in metrics.split(",")]
    if extractor is None and weights is not None:
        extractor = "inception"
    through = None if extractor is None else extractor_of(extractor, weights)
    with Progress(transient=True) as bar:
        task = bar.add_task("images", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if run is not None:
            result = evaluate(
                run, names, samples=samples, seeds=seeds, step=step, split=split, extractor=through, progress=progress
            )
            default = run / "evaluations" / f"{result.about['step']:06d}.json"
        else:
            assert images is not None and reference is not None
            result = evaluate_images(
                images, reference, names, split=split or "train", image_size=image_size,
                data_dir=data_dir, extractor=through, progress=progress,
            )  # fmt: skip
            default = Path("evaluation.json")
    about, path = result.about, out or default
    table = Table(f"{about.get('run') or about['images']} against {about['data']}", f"{about['samples']:,} samples")
    for name, value in result.values.items():
        deviation = f" ± {result.deviations[name]:.2g}" if result.deviations else ""
        table.add_row(name, "unknown" if math.isnan(value) else f"{value:.4g}{deviation}")
    console = Console()
    console.print(table)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result.as_data(), indent=2) + "\n")
        if result.neighbours is not None:
            pictures.save_table(result.neighbours, path.with_suffix(".png"))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Name another file with --out.") from error
    console.print(f"{about['extractor']} features, {about['real']:,} real images: {path}", highlight=False)


def _check(run: Path | None, images: str | None, reference: str | None) -> None:
    if run is not None and (images is not None or reference is not None):
        raise InputError(f"{run} is evaluated against its own data. Leave --images and --reference out, or the run.")
    if run is None and (images is None or reference is None):
        raise InputError("Name what to evaluate: `jaxgan evaluate RUN`, or --images DIR and --reference DIR.")


def _check_unused(run: Path | None, given: dict[str, object]) -> None:
    """Refuses options of images with a run, and those of a run with images."""
    for name, value in given.items():
        if value is not None:
            why = "goes with --images: a run has its own" if run else "goes with a run: no samples are drawn"
            raise InputError(f"--{name} is {value}, but it {why}. Leave it out.")
