"""The table of races: what stands in it is what the files say."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

_PATH = Path(__file__).parents[1] / "benchmarks" / "table.py"
ON = {"device": "cpu", "cores": 2, "jax": "0.10.2", "flax": "0.12.8", "optax": "0.2.8", "python": "3.11.7"}
RACE = {
    "ms_per_step": {"jaxgan": 1.03, "eager": 2.55, "compiled": 4.0},
    "compile_seconds": {"jaxgan": 1.4, "eager": 0.01, "compiled": 2.56},
    "temporary_mib": {"jaxgan": 0.5, "eager": 3.25, "compiled": 2.0},
    "best_peer": "eager",
    "ratio": 2.481,
    "ratio_quartiles": [2.461, 2.516],
    "torch": "2.14.1",
}


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("races_table", _PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path):
    old = {**RACE, "best_peer": "compiled", "ratio": 0.9, "ratio_quartiles": [0.8, 0.95]}
    del old["temporary_mib"]
    for name, measured, on in (("new", RACE, ON), ("old", old, ON | {"device": "gpu"}), ("other", {"seconds": 1}, ON)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"measured": measured, "on": on}))
    return tmp_path


def test_a_row_for_each_race_and_a_line_for_each_machine(table, results, capsys):
    table.main(results, picture=False)
    head, _, new, old, blank, *machines = capsys.readouterr().out.splitlines()
    assert head.count("|") == new.count("|") == old.count("|") and not blank
    assert new == "| new | 1.03 ms | 2.55 ms, eager | 2.48 (2.46 to 2.52) | 1.4 / 0.0 s | 0.5 / 3.2 MiB |"
    assert old == "| old | 1.03 ms | 4 ms, compiled | 0.90 (0.80 to 0.95) | 1.4 / 2.6 s | – |"
    assert [line.split(",")[0] for line in machines] == ["new: cpu", "old: gpu"]
    assert "jax 0.10.2" in machines[0] and "torch 2.14.1" in machines[0]


def test_the_picture_is_an_image(table, results):
    pytest.importorskip("matplotlib")
    table.main(results)
    assert min(Image.open(results / "images" / "races.png").size) > 100


def test_no_race_is_said(table, tmp_path):
    with pytest.raises(SystemExit, match="no race"):
        table.main(tmp_path / "none")
