"""The pages: every Python block runs, every command parses, every link leads somewhere, every preset is told of."""

import functools
import re
import shlex
import tomllib
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
import tyro
import yaml

from jaxgan import cli, config, presets

ROOT = Path(__file__).parents[1]
TEXT = {
    page.relative_to(ROOT).as_posix(): page.read_text()
    for page in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
}
PYTHON = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in TEXT.items()}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run(page: str, most: int | None) -> dict:
    """Runs the blocks of a page in its order, and gives what they named.

    Args:
      page: its name.
      most: training is cut to so many steps: what a page trains for minutes takes seconds. None: it is not.
    """
    names: dict = {"__name__": page}
    registries = mock.patch.dict(config.RECIPES), mock.patch.dict(presets.PRESETS)  # pages add to them
    with registries[0], registries[1], jax.debug_key_reuse(False):  # blocks stand for sessions of their own
        for block in PYTHON[page]:
            if most is not None:
                block = re.sub(r"\bsteps=[\d_]+", f"steps={most}", block)
            exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page, blocks in PYTHON.items() if blocks and page != "README.md"])
def test_python_blocks(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, most=20)


def test_the_readme_does_what_it_says():
    names = run("README.md", most=None)
    assert names["samples"].shape == (16, 8, 8, 1)
    assert np.abs(jax.tree.leaves(names["state"].params["discriminator"])[0]).max() <= np.float32(0.05)
    new, metrics = jax.jit(names["step"])(names["state"], names["feed"].draw(names["images"], 0), names["key"])
    assert new.step == 101 and np.isfinite(metrics["discriminator_loss"])
    assert names["parallel_lines"](0.5).w1 == 0.5


@pytest.mark.slow
def test_the_new_recipe_learns(tmp_path, monkeypatch):
    """Codes of no meaning have a purity of a tenth, or a little more for the most frequent digit of each."""
    monkeypatch.chdir(tmp_path)
    names = run("docs/new_recipe.md", most=None)
    assert names["purity"] > 0.6
    assert len(set(names["seen"].argmax(axis=1))) >= 7  # digits that have a code


def commands(text: str) -> list[str]:
    """The command lines of a page: those of its shell blocks, and those in the text that say more than a name."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in blocks.splitlines()]
    spans = re.findall(r"`(jaxgan [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for line in lines if line] + [" ".join(s.split()) for s in spans if "COMMAND" not in s]


COMMANDS = [(page, line) for page, text in TEXT.items() for line in commands(text)]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_parse(page, line, monkeypatch):
    """By the command's own parser, whose command then does nothing: its flags exist, and their values are allowed."""
    words = shlex.split(line.partition(">")[0])
    while "=" in words[0]:  # variables of the environment
        words.pop(0)
    program, *args = words
    if Path(program).name == "jaxgan":
        name, *args = ["digits" if word == "PRESET" else word for word in args if word != "--help"]
        assert name in cli.COMMANDS
        if args or name in ("train", "presets", "devices"):
            parsed = []

            def inert(command, args, prog):
                stand_in = functools.wraps(command)(lambda *_, **__: parsed.append(prog))
                tyro.cli(stand_in, args=args, prog=prog)

            monkeypatch.setattr(cli, "_cli", inert)
            cli.COMMANDS[name](args)
            assert parsed
    elif program == "make":
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in args[:1])
    elif Path(program).name in ("python", "pytest") and args[0] != "-m":
        file = args[0].partition("::")[0]
        assert (ROOT / file).is_file() or f"in `{file}`" in TEXT[page]  # or the page itself makes it


def anchors(text: str) -> set[str]:
    """What links can name of a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXT)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT[page]):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def test_every_page_can_be_found():
    linked = {Path(target).name for target in re.findall(r"\]\(([\w.]+\.md)", TEXT["docs/README.md"])}
    assert linked | {"README.md"} == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_every_preset_is_told_of():
    assert TEXT["docs/presets.md"] == presets.page(), "run: jaxgan presets --markdown > docs/presets.md"
    for preset in presets.PRESETS:
        assert f"`{preset}`" in TEXT["README.md"], preset


def test_the_version_is_one():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert re.search(rf"^## \[?{re.escape(VERSION)}\]?", TEXT["CHANGELOG.md"], re.MULTILINE)
