"""Checkpoints: what is restored is what was saved, and nothing that was altered passes for it."""

import json
import os
import random
import re
import shutil
import subprocess
import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxgan import integrity
from jaxgan.checkpoint import Checkpoints, differences, set_aside, unfinished, versions
from jaxgan.cli import main
from jaxgan.errors import InputError, RunError, RunWarning
from jaxgan.rundir import lock

STEPS = (10, 20, 30)


def state_of(step):
    key = jax.random.key(step)
    return {
        "w": jax.random.normal(key, (40, 50)), "count": jnp.array(step), "half": jnp.full((3,), step, jnp.bfloat16),
    }  # fmt: skip


LIKE = {"state": jax.eval_shape(lambda: state_of(0))}


@pytest.fixture
def saved(tmp_path):
    """Three checkpoints in the place that a run has them."""
    with Checkpoints(tmp_path / "checkpoints", keep=3) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, {"state": state_of(step)}, {"settings": {"lr": 1}}, score=-float(step))
    return tmp_path / "checkpoints"


def same(restored, step):
    expected = state_of(step)
    return all(np.array_equal(restored["state"][name], leaf) for name, leaf in expected.items())


def test_what_a_checkpoint_says_about_itself(saved):
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.steps() == list(STEPS)
        about = checkpoints.about(20)
        assert same(checkpoints.restore(LIKE, 20, {"lr": 1}), 20)
    assert about["settings"] == {"lr": 1}
    assert about["leaves"]["state"] == {"['w']": "float32[40, 50]", "['count']": "int32[]", "['half']": "bfloat16[3]"}
    assert about["versions"] == versions() and about["versions"]["jax"] == jax.__version__
    w = np.array(state_of(20)["w"])
    assert about["digests"]["state"]["['w']"] == integrity.digests({"w": w})["['w']"]
    w[3, 4] = np.nextafter(w[3, 4], 1)
    assert about["digests"]["state"]["['w']"] != integrity.digests({"w": w})["['w']"]


def test_its_files_can_be_checked_without_jaxgan(saved):
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=saved / "20").returncode == 0
    file = next(path for path in (saved / "20/state/d").iterdir())
    file.write_bytes(bytes(len(file.read_bytes())))
    assert subprocess.run(check, cwd=saved / "20", capture_output=True).returncode == 1


def mutate(path, kind, random, others):
    """Alters a file; False if that would leave it as it is."""
    content = path.read_bytes()
    if kind == "delete":
        path.unlink()
        return True
    if kind == "swap":
        other = random.choice(others)
        altered = other.read_bytes()
        other.write_bytes(content)
    elif kind == "flip":
        altered = bytearray(content or b"\0")
        altered[random.randrange(len(altered))] ^= 1 << random.randrange(8)
    elif kind == "truncate":
        altered = content[: random.randrange(max(len(content), 1))]
    else:
        altered = bytes(len(content))
    path.write_bytes(altered)
    return bytes(altered) != content


def test_no_alteration_of_a_file_passes_in_silence(saved):
    """500 mutations of any file of the newest checkpoint: each is found and named, and the one before is used."""
    chance = random.Random(0)
    files = sorted(path for path in (saved / "30").rglob("*") if path.is_file())
    others = sorted(path for path in saved.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in others}
    made = dict.fromkeys(("flip", "truncate", "zero", "delete", "swap"), 0)
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.newest() == 30
        while sum(made.values()) < 500:
            path, kind = chance.choice(files), min(made, key=made.get)
            if mutate(path, kind, chance, files):
                made[kind] += 1
                with pytest.warns(RunWarning) as caught:
                    assert checkpoints.newest() == 20
                message = str(caught[0].message)
                assert "step 30" in message and "The last good one is used, of step 20" in message
                # Where the list of digests is what was altered, the message may name the file whose line it was.
                names = (path.relative_to(saved / "30").as_posix(), integrity.SUMS)
                assert path.name == integrity.SUMS or any(name in message for name in names)
                if made[kind] % 20 == 0:
                    assert same(checkpoints.restore(LIKE, 20), 20)
            for each in others:
                if not each.exists() or each.read_bytes() != before[each]:
                    each.write_bytes(before[each])
        assert checkpoints.newest() == 30
    assert set(made.values()) == {100}


def test_added_files_and_pipes_are_faults(saved):
    (saved / "30/state/extra").write_text("")
    os.mkfifo(saved / "30/pipe")  # to open it would wait forever
    assert integrity.faults(saved / "30") == ["pipe: not of this checkpoint", "state/extra: not of this checkpoint"]


def test_a_leaf_that_is_not_what_was_saved_is_named(saved):
    """As if Orbax had written, or read, something else: the files are in order."""
    file = saved / "30/about/metadata"
    about = json.loads(file.read_text())
    about["digests"]["state"]["['w']"] = "0" * 64
    file.write_text(json.dumps(about))
    integrity.seal(saved / "30")
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.newest() == 30
        with pytest.raises(InputError, match=r"step 30.*not restore to what was saved: \['w'\] of state"):
            checkpoints.restore(LIKE, 30)


def test_when_none_is_good_each_is_named(saved):
    for step in STEPS:
        (saved / str(step) / "about/metadata").unlink()
    with Checkpoints(saved) as checkpoints:
        with pytest.raises(InputError, match=r"(?s)No checkpoint.*step 30: about/metadata: missing.*step 10"):
            checkpoints.newest()
        with pytest.raises(InputError, match="such checkpoint"):
            checkpoints.newest(20)
        with pytest.raises(InputError, match="step 25; it holds steps 10, 20, 30"):
            checkpoints.newest(25)


@pytest.mark.long
def test_a_hundred_saves_overlap_training_that_donates(tmp_path):
    """Every save is of the state that was handed over, though the next step takes its memory at once."""
    step = jax.jit(lambda s: {"w": s["w"] * 3 + s["b"], "b": s["b"] + 1}, donate_argnums=0)
    state, expected = {"w": jnp.ones((300, 300), jnp.uint32), "b": jnp.zeros((300,), jnp.uint32)}, {}
    with Checkpoints(tmp_path / "c", keep=100) as checkpoints:
        for i in range(1, 101):
            state = step(state)
            expected[i] = integrity.digests(state)
            checkpoints.save(i, {"state": state}, {"settings": {}})
            state = step(step(state))
    like = {"state": jax.eval_shape(lambda: state)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == list(range(1, 101))
        for i in checkpoints.steps():
            assert checkpoints.faults(i) == []
            assert integrity.digests(checkpoints.restore(like, i)["state"]) == expected[i]


def test_the_oldest_go_and_the_best_stays(tmp_path):
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step, score in ((1, 0.1), (2, 0.9), (3, 0.3), (4, float("nan")), (5, None), (6, 0.5)):
            checkpoints.save(step, {"state": {"x": jnp.zeros(2)}}, {"settings": {}}, score)
        checkpoints.save(6, {"state": {"x": jnp.ones(2)}}, {"settings": {}})  # is there already
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:  # resumed, it knows the best still
        checkpoints.save(7, {"state": {"x": jnp.ones(2)}}, {"settings": {}})
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [2, 6, 7]
        assert checkpoints.score(2) == 0.9 and checkpoints.score(7) is None
        assert not checkpoints.restore({"state": {"x": jax.ShapeDtypeStruct((2,), jnp.float32)}}, 6)["state"]["x"].any()


def test_what_is_not_finite_is_not_saved(saved):
    with Checkpoints(saved, keep=3) as checkpoints:
        bad = state_of(40) | {"half": jnp.array([1, jnp.inf, 2], jnp.bfloat16)}
        with pytest.raises(RunError, match=r"Step 40 was not saved: \['state'\]\['half'\]"):
            checkpoints.save(40, {"state": bad}, {"settings": {}})
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.newest() == 30


def test_what_a_crash_left_is_no_checkpoint(saved):
    (saved / "40.orbax-checkpoint-tmp/state").mkdir(parents=True)
    (saved / "35").mkdir()
    with Checkpoints(saved) as checkpoints, pytest.warns(RunWarning, match=r"step 35: SHA256SUMS: missing"):
        assert checkpoints.newest() == 30
    assert unfinished(saved)  # whoever only reads deletes nothing
    with Checkpoints(saved, keep=3) as checkpoints:
        checkpoints.save(50, {"state": state_of(50)}, {"settings": {}})
    assert not unfinished(saved)


def test_set_aside(saved):
    assert set_aside(saved, 30) == saved.with_name("faulty") / "30"
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.steps() == [10, 20]


def test_differences_name_what_is_only_in_one():
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": None}) == ["a: 1 -> nothing", "b: 2 -> 3", "c: nothing -> None"]


def run_cli(capsys, *args):
    try:
        main(list(args))
        status = 0
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_the_command_lists_verifies_and_prunes(saved, capsys):
    run = str(saved.parent)
    status, out = run_cli(capsys, "checkpoints", run)
    assert status == 0 and "not verified" in out and all(str(step) in out for step in STEPS)
    assert run_cli(capsys, "checkpoints", run, "--verify")[0] == 0
    (saved / "20/state/manifest.ocdbt").unlink()
    (saved / "40.orbax-checkpoint-tmp").mkdir()
    status, out = run_cli(capsys, "checkpoints", run, "--verify")
    assert status == 1 and "step 20: state/manifest.ocdbt: missing" in out and "1 of the 3" in out
    status, out = run_cli(capsys, "checkpoints", run, "--prune", "1")
    assert status == 0 and "deleted: 20; kept: 10, 30" in out  # the best has the score -10
    assert sorted(path.name for path in saved.iterdir()) == ["10", "30"]
    (saved / "10/SHA256SUMS").unlink()
    (saved / "30/SHA256SUMS").unlink()
    status, out = run_cli(capsys, "checkpoints", run, "--prune", "1")
    assert status == 1 and "so none is deleted" in out
    assert run_cli(capsys, "checkpoints", run, "--prune", "0")[0] == 2
    assert run_cli(capsys, "checkpoints", run + "/nowhere")[0] == 2


def test_a_run_that_trains_may_seal_and_delete_what_is_verified(saved, capsys):
    """Its newest checkpoint has no digests yet, and its oldest is being deleted: neither is a fault."""
    sums, run = (saved / "30/SHA256SUMS").read_bytes(), str(saved.parent)
    (saved / "30/SHA256SUMS").unlink()
    (saved / "10/state/manifest.ocdbt").unlink()
    assert run_cli(capsys, "checkpoints", run, "--verify")[0] == 1  # nobody trains

    def go_on():
        (saved / "30/SHA256SUMS").write_bytes(sums)
        shutil.rmtree(saved / "10")

    with lock(saved.parent):
        later = threading.Timer(1.0, go_on)
        later.start()
        status, out = run_cli(capsys, "checkpoints", run, "--verify")
        later.join()
    steps = re.findall(r"(\d+) +\S* *\d{4}-", out)
    assert status == 0 and steps == ["20", "30"], out


def test_the_newest_is_looked_for_again_where_a_run_has_deleted_all(saved):
    with Checkpoints(saved) as checkpoints:
        shutil.copytree(saved / "30", saved / "50")
        for step in STEPS:
            shutil.rmtree(saved / str(step))
        assert checkpoints.newest() == 50


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
def test_a_directory_is_listed_while_a_run_deletes_in_it(saved, monkeypatch, error):
    """Orbax looks at every step that it has listed, and fails at one that is gone meanwhile."""
    manager, failing = ocp.CheckpointManager, iter([True, False])

    def opened(*args, **options):
        if next(failing):
            raise error
        return manager(*args, **options)

    monkeypatch.setattr(ocp, "CheckpointManager", opened)
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.steps() == list(STEPS)
