"""The races that were run, as a Markdown table for the docs and as a picture.

    python benchmarks/table.py

It reads the JSON files in benchmarks/results; those that no race wrote are passed over. The picture needs matplotlib,
which comes with the extra jaxgan[notebooks].
"""

import json
from pathlib import Path
from typing import Any

import tyro

RESULTS = Path(__file__).parent / "results"
HEAD = ["workload", "jaxgan", "best of PyTorch", "ratio (quartiles)", "compile", "memory of a step"]


def main(results: Path = RESULTS, picture: bool = True) -> None:
    """Prints the table, and draws results/images/races.png.

    Args:
        results: Directory of what the races wrote.
        picture: Whether to draw.
    """
    races = read(results)
    if not races:
        raise SystemExit(f"There is no race in {results} yet: `python benchmarks/mlp.py` runs one.")
    print(table(races))
    if picture:
        draw(races, results / "images" / "races.png")


def read(results: Path) -> dict[str, dict[str, Any]]:
    """What was written of every race, by name."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    return {name: each for name, each in found.items() if "best_peer" in each.get("measured", {})}


def table(races: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each race, and a line for each machine. Seconds and MiB are jaxgan's and the best peer's."""
    rows = [HEAD, ["---"] * len(HEAD), *(_row(name, each["measured"]) for name, each in races.items())]
    machines: dict[str, list[str]] = {}
    for name, each in races.items():
        machines.setdefault(_machine(each), []).append(name)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"{', '.join(names)}: {machine}." for machine, names in machines.items())])


def _row(name: str, measured: dict[str, Any]) -> list[str]:
    best, (low, high) = measured["best_peer"], measured["ratio_quartiles"]
    sides = ("jaxgan", best)
    memory = measured.get("temporary_mib")  # races that were run before it was noted have none
    return [
        name,
        f"{measured['ms_per_step']['jaxgan']:.3g} ms",
        f"{measured['ms_per_step'][best]:.3g} ms, {best}",
        f"{measured['ratio']:.2f} ({low:.2f} to {high:.2f})",
        " / ".join(f"{measured['compile_seconds'][side]:.1f}" for side in sides) + " s",
        " / ".join(f"{memory[side]:.1f}" for side in sides) + " MiB" if memory else "–",
    ]


def _machine(race: dict[str, Any]) -> str:
    on = race["on"]
    versions = ", ".join(f"{name} {on[name]}" for name in ("jax", "flax", "optax", "python"))
    return f"{on['device']}, {on['cores']} cores, {versions}, torch {race['measured']['torch']}"


def draw(races: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars of the ratios with their quartiles, and a line where both sides are equally fast."""
    import matplotlib.pyplot as plt

    names, ratios = list(races), [each["measured"]["ratio"] for each in races.values()]
    quartiles = [each["measured"]["ratio_quartiles"] for each in races.values()]
    beside = [[r - low for r, (low, _) in zip(ratios, quartiles, strict=True)],
              [high - r for r, (_, high) in zip(ratios, quartiles, strict=True)]]  # fmt: skip
    figure, axes = plt.subplots(figsize=(7, 1 + 0.35 * len(names)), layout="constrained")
    axes.barh(names, ratios, xerr=beside, color="tab:blue", ecolor="black", capsize=2)
    axes.axvline(1, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("time of a step of the fastest PyTorch peer / of jaxgan")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    tyro.cli(main)
