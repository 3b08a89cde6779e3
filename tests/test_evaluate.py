"""Evaluation: against metrics written out on the samples of a run, the cache, the best checkpoint, the alarms."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import cli, data, parallel
from jaxgan import config as configs
from jaxgan.alarms import evaluation_alarms, training_alarms
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import CycleGANConfig, GANConfig
from jaxgan.errors import InputError
from jaxgan.evaluate import Evaluation, evaluate, evaluate_images
from jaxgan.metrics import authenticity, class_modes, digits, fid, modes, moments, nearest, prdc, reference
from jaxgan.metrics import references as store
from jaxgan.metrics.extraction import Extractor, Seen, as_floats, extract
from jaxgan.runlog import RunLog, read
from jaxgan.sample import restore
from jaxgan.sweep import sweep
from jaxgan.train import train

TINY = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=8, log_every=4, save_every=100,
    keep=1, samples=4, eval_every=2, eval_metrics="fid, prdc", eval_samples=300,
)  # fmt: skip


def flat(digest="v1"):
    """Pixels as features, and the halves of the image as two classes."""

    def apply(x):
        return x.reshape(len(x), -1), jnp.stack([x[:, :4].mean((1, 2, 3)), x[:, 4:].mean((1, 2, 3))], axis=1)

    return Extractor("flat", digest, apply)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tiny"
    train(TINY, path, engine=parallel.jit(), quiet=True)
    return path


def samples(run, count, seed, batch=250):
    """Samples by the documented rule: batches of 250, each with a key of its own."""
    gan, state = restore(run)[1:3]
    keys = jax.random.split(jax.random.key(seed), -(-count // batch))
    return np.concatenate([gan.sample(state, k, batch) for k in keys])[:count]


def real_images():
    source = data.load("digits")
    return source.read(store.order(source))["image"].astype(np.float32) / 127.5 - 1


def test_metrics_of_a_run_written_out(run):
    result = evaluate(run, ["fid", "prdc"], samples=400, seeds=2, extractor=flat())
    real = real_images().reshape(-1, 64)
    distances, recalls = [], []
    for seed in range(2):
        fake = samples(run, 400, seed).reshape(-1, 64)
        distances.append(fid(moments(real), moments(fake)))  # all 1,797
        recalls.append(prdc(real[:400], fake).recall)  # as many as samples
    np.testing.assert_allclose(result.values["fid"], np.mean(distances), rtol=1e-5)
    np.testing.assert_allclose(result.deviations["fid"], np.std(distances, ddof=1), rtol=1e-2)
    np.testing.assert_allclose(result.values["recall"], np.mean(recalls), atol=1e-6)
    assert result.about["step"] == 8 and result.about["real"] == 1797 and result.about["extractor_digest"] == "v1"
    # A row of neighbours: the sample, then the images that a search of all finds, the nearest first.
    row = result.neighbours.reshape(8, 8, 8, 8, 1)[3].reshape(8, 64)
    gaps = np.linalg.norm(real - row[0], axis=1)
    np.testing.assert_allclose(np.linalg.norm(row[1:] - row[0], axis=1), np.sort(gaps)[:7], rtol=1e-5)
    np.testing.assert_allclose(row[0], samples(run, 400, 0)[3].ravel(), atol=1e-6)


def test_evaluation_in_training_and_the_best_checkpoint(run):
    table = read(run / "evaluations.jsonl")
    assert [row["step"] for row in table] == [2, 4, 6, 8]
    assert {"fid", "precision", "recall", "density", "coverage", "authenticity", "diversity"} <= table[0].keys()
    best = min(table, key=lambda row: row["fid"])["step"]
    with Checkpoints(run / "checkpoints") as checkpoints:
        kept = checkpoints.steps()
    assert kept == sorted({best, 8})
    # The same as afterwards.
    assert evaluate(run, ["fid"], samples=300).values["fid"] == pytest.approx(table[-1]["fid"], rel=1e-6)
    with Image.open(run / "neighbours/000008.png") as picture:
        assert picture.width == picture.height and picture.width > 64


@pytest.mark.long
def test_a_resumed_run_goes_on_evaluating_and_computes_the_same(run, tmp_path):
    half = dataclasses.replace(TINY, steps=4)
    train(half, tmp_path / "run", engine=parallel.jit(), quiet=True)
    whole = train(TINY, tmp_path / "run", engine=parallel.jit(), resume=True, quiet=True)
    assert read(tmp_path / "run/evaluations.jsonl") == read(run / "evaluations.jsonl")
    silent = train(dataclasses.replace(TINY, eval_every=None), tmp_path / "silent", engine=parallel.jit(), quiet=True)
    for x, y in zip(jax.tree.leaves(jax.device_get(whole)), jax.tree.leaves(jax.device_get(silent)), strict=True):
        np.testing.assert_array_equal(x, y)  # looking changes nothing
    assert not (tmp_path / "silent/evaluations.jsonl").exists()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("sharded", "shard_map")]


@pytest.mark.long
@pytest.mark.parametrize("name", ["pmap", *SLOW])
def test_every_engine_evaluates_alike(run, name, tmp_path):
    config = dataclasses.replace(TINY, steps=2, eval_metrics="fid")
    train(config, tmp_path / "run", engine=parallel.ENGINES[name](2), quiet=True)
    (row,) = read(tmp_path / "run/evaluations.jsonl")
    assert row["fid"] == pytest.approx(read(run / "evaluations.jsonl")[0]["fid"], rel=1e-3)


def test_points_are_compared_with_their_mixture(tmp_path):
    config = GANConfig(data="ring", network="mlp", width=8, depth=1, latent_dim=2, batch=16, steps=1, samples=4)
    train(config, tmp_path / "ring", engine=parallel.jit(), quiet=True)
    values = evaluate(tmp_path / "ring", samples=500).values
    ring = data.load("ring")
    expected = modes(samples(tmp_path / "ring", 500, 0), ring.modes, ring.std)
    assert (values["modes"], values["high_quality"]) == (expected.covered, expected.high_quality)
    np.testing.assert_allclose(values["reverse_kl"], expected.reverse_kl)


def test_a_conditional_gan_is_asked_for_the_classes_of_the_data(tmp_path):
    config = GANConfig(
        data="digits",
        network="mlp",
        width=8,
        depth=1,
        latent_dim=2,
        batch=16,
        steps=1,
        samples=4,
        conditioning="concat",
    )
    train(config, tmp_path / "run", engine=parallel.jit(), quiet=True)
    result = evaluate(tmp_path / "run", ["accuracy", "intra_fid", "modes"], samples=500, extractor=flat())
    source = data.load("digits")
    label = source.read(store.order(source, 500))["label"]
    gan, state = restore(tmp_path / "run")[1:3]
    keys = jax.random.split(jax.random.key(0), 2)
    fake = np.concatenate(
        [gan.sample(state, k, 250, label=part) for k, part in zip(keys, np.split(label, 2), strict=True)]
    )
    seen = extract(flat(), [fake])
    assert result.values["accuracy"] == np.mean(seen.logits.argmax(1) == label)
    assert result.values["modes"] == class_modes(seen.logits.argmax(1), 2).covered
    real = real_images().reshape(-1, 64)
    every = source.read(store.order(source))["label"]
    three = fid(moments(real[every == 3]), moments(fake.reshape(-1, 64)[label == 3]))
    np.testing.assert_allclose(result.values["fid/3"], three, rtol=1e-5)


def test_folders(tmp_path):
    images = data.load("digits").read(np.arange(60))["image"]
    for name, some in {"real": images[:40], "copies": images[:40], "other": images[20:]}.items():
        (tmp_path / name).mkdir()
        for i, image in enumerate(some):
            Image.fromarray(image[..., 0]).save(tmp_path / name / f"{i:03d}.png")
    names = ["fid", "prdc", "authenticity"]
    with pytest.warns(UserWarning, match="rank 39 at most"):
        same = evaluate_images(str(tmp_path / "copies"), str(tmp_path / "real"), names, extractor=flat()).values
        other = evaluate_images(str(tmp_path / "other"), str(tmp_path / "real"), names, extractor=flat()).values
    assert same["fid"] == pytest.approx(0, abs=1e-6) and same["precision"] == same["recall"] == 1
    assert same["authenticity"] == 0
    assert other["fid"] > 0.1 and 0 < other["authenticity"] <= 0.5  # half are copies, the others are new


# The cache of the reference.


def counted(calls, digest="v1"):
    def apply(x):
        jax.debug.callback(lambda n: calls.append(int(n)), len(x))
        return x.reshape(len(x), -1), None

    return Extractor("counted", digest, apply)


def test_a_data_set_is_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), np.uint8)
    calls = []

    def look(pixels, digest="v1", most=None):
        calls.clear()
        seen = reference(data.from_arrays(pixels, np.arange(300) % 3), counted(calls, digest), most)
        jax.effects_barrier()
        return seen, sum(calls)

    first, looked = look(pixels)
    assert looked == 300
    again, looked = look(pixels)
    assert looked == 0
    np.testing.assert_array_equal(again.features, first.features)
    np.testing.assert_array_equal(again.label, first.label)
    order = store.order(data.from_arrays(pixels))
    np.testing.assert_allclose(first.features, pixels[order].reshape(300, -1) / 127.5 - 1, atol=1e-6)
    assert look(pixels, "v2")[1] == 300 and look(pixels, most=100)[1] == 100
    changed = pixels.copy()
    changed[123, 4, 5] ^= 1
    assert look(changed)[1] == 300
    for damage in (lambda b: b[:-100], lambda b: b[:2000] + bytes([b[2000] ^ 1]) + b[2001:], lambda b: b""):
        for path in (tmp_path / "features").glob("*.npz"):
            path.write_bytes(damage(path.read_bytes()))
        mended, looked = look(pixels)
        assert looked == 300
        np.testing.assert_array_equal(mended.features, first.features)
    assert not [*tmp_path.rglob("*.part")]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Set JAXGAN_CACHE to a directory"):
        reference(data.load("digits"), flat())


# Copies.


def test_authenticity_of_copies_of_new_data_and_of_far_ones():
    real, new = np.random.default_rng(0).normal(size=(2, 2000, 8))
    assert authenticity(real, real[:100]) == 0
    assert authenticity(real, real[:100] + 1e-3) == 0
    assert authenticity(real, real[:100] + 100) == 1
    assert 0.4 < authenticity(real, new) < 0.75


def test_nearest_equals_a_search_of_all():
    real, fake = np.random.default_rng(0).normal(size=(2, 50, 3))
    distances, indices = nearest(real, fake[:7], 4)
    every = np.linalg.norm(real - fake[:7, None], axis=-1)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :4])
    with pytest.raises(InputError, match="k is 51; of 50 real samples 1 to 50"):
        nearest(real, fake, 51)


# Alarms.


def test_alarms_of_training():
    well, bad = {"real_sign": 0.6}, {"real_sign": 0.96}
    assert not training_alarms([bad] * 4)
    assert not training_alarms([bad] * 4 + [well])
    assert not training_alarms([bad] * 4 + [{"real_sign": "nan"}])
    assert "above 0.95 in the last 5 rows" in training_alarms([well] + [bad] * 5)["overfitting"]
    assert not training_alarms([{"loss": 1.0}] * 9)
    # Without signs both accuracies count: 98 % rightly classified are a mean sign of 0.96.
    assert "mean sign of 0.96" in training_alarms([{"real_accuracy": 0.98, "fake_accuracy": 0.99}] * 5)["overfitting"]
    assert not training_alarms([{"real_accuracy": 1.0, "fake_accuracy": 0.6}] * 5)


@pytest.mark.parametrize(
    ("rows", "alarms"),
    [
        ([{"authenticity": 0.5, "diversity": 0.9, "recall": 0.4}], set()),
        ([{"authenticity": 0.05}], {"memorisation"}),
        ([{"diversity": 0.1}], {"collapse"}),
        ([{"recall": 0.6}, {"recall": 0.2}], {"recall"}),
        ([{"recall": 0.6}, {"recall": 0.2}, {"recall": 0.5}], set()),
        ([{"recall": 0.05}, {"recall": 0.01}], set()),  # was never worth anything
        ([{"fid": 3.0}], set()),
    ],
)
def test_alarms_of_evaluations(rows, alarms):
    assert evaluation_alarms(rows).keys() == alarms


def test_samples_that_are_alike_are_said_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxgan.alarms.DIVERSITY", 0.9)
    # A learning rate of almost nothing: samples stay as grey as those of an untrained generator.
    config = dataclasses.replace(TINY, g_lr=1e-9, d_lr=1e-9, eval_metrics="fid", steps=6)
    train(config, tmp_path / "run", engine=parallel.jit())
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("warning at step 2: the features of samples have 0.") == 1 == out.count("warning")


# What does not work.


def test_input_that_cannot_be_evaluated(run, tmp_path):
    with pytest.raises(InputError, match=r"no metric 'fib'. Did you mean 'fid'"):
        evaluate(run, ["fib"])
    with pytest.raises(InputError, match="accuracy goes by the classes of images: it needs a conditional GAN"):
        evaluate(run, ["accuracy"], extractor=flat())
    with pytest.raises(InputError, match="modes goes by predictions"):
        evaluate(run, ["modes"], extractor=Extractor("flat", "v1", lambda x: (x.reshape(len(x), -1), None)))
    with pytest.raises(InputError, match="1 samples and 1 seeds"):
        evaluate(run, samples=1)
    with pytest.raises(InputError, match="points, which are their own features"):
        train(GANConfig(data="ring", network="mlp", eval_every=1, eval_extractor="digits"), tmp_path / "a", quiet=True)
    with pytest.raises(InputError, match=r"go from -3 to 1\. Float images are in \[-1, 1\]"):
        as_floats(np.float32([[-3, 1]]))
    with pytest.raises(InputError, match="go from nan"):
        as_floats(np.float32([[np.nan, 1]]))
    with pytest.raises(InputError, match=r"no extractor 'incepton'\. Did you mean 'inception'"):
        train(GANConfig(data="digits", eval_every=1, eval_extractor="incepton"), tmp_path / "a", quiet=True)
    with pytest.raises(InputError, match="no metric 'fdi'"):
        train(GANConfig(data="digits", eval_every=1, eval_metrics="fdi"), tmp_path / "a", quiet=True)
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="A sweep is not evaluated while it trains"):
        sweep(TINY, tmp_path / "sweep", quiet=True)
    with pytest.raises(InputError, match=r"knows grey digits.*8, 8, 3"):
        digits().apply(jnp.zeros((1, 8, 8, 3)))


def test_a_translator_is_compared_by_its_images(tmp_path):
    (tmp_path / "run").mkdir()
    configs.write(CycleGANConfig(), tmp_path / "run/config.json")
    with pytest.raises(InputError, match="draws no samples: it translates images"):
        evaluate(tmp_path / "run")


def test_the_command(run, tmp_path, capsys):
    cli.main(["evaluate", str(run), "--metrics", "fid,diversity", "--samples", "200", "--seeds", "2"])
    written = json.loads((run / "evaluations/000008.json").read_text())
    assert written["values"].keys() == {"fid", "diversity"} == written["deviations"].keys()
    assert (run / "evaluations/000008.png").is_file()
    out = capsys.readouterr().out
    assert "200 samples" in out and "1,797 real images" in out and "±" in out
    for args, message in (
        ([], "Name what to evaluate"),
        (["--images", "x"], "Name what to evaluate"),
        ([str(run), "--images", "x"], "against its own data"),
        ([str(run), "--weights", "nowhere.npz"], "nowhere.npz"),
        (
            [str(run), "--out", "/proc/no/file.json", "--samples", "50", "--metrics", "fid"],
            "cannot be made: nothing can be written to /proc",
        ),
    ):
        with pytest.raises(SystemExit) as status:
            cli.main(["evaluate", *args])
        assert status.value.code == 2 and message in capsys.readouterr().err.replace("\n", " ")


def test_a_resumed_log_takes_what_was_not_finite_for_numbers(tmp_path, capsys):
    """Those rows are compared with new ones: the best so far, the fall of recall."""
    best = lambda values: -values["fid"]  # noqa: E731
    with RunLog(tmp_path, steps=9, start=0) as log:
        log.evaluation(3, {"fid": float("inf"), "recall": float("nan")}, best)
    with RunLog(tmp_path, steps=9, start=3) as log:
        log.evaluation(6, {"fid": 2.0, "recall": 0.5}, best)
    assert capsys.readouterr().out.count("best so far") == 1
    assert [row["fid"] for row in read(tmp_path / "evaluations.jsonl")] == [float("inf"), 2.0]
    assert '"fid": "inf"' in (tmp_path / "evaluations.jsonl").read_text()  # Infinity is no JSON


def test_numbers_that_are_not_finite_are_json_all_the_same():
    data = Evaluation({"kid": 0.5, "kid_standard_error": float("nan")}, {}, {"samples": 9}, None).as_data()
    assert json.loads(json.dumps(data, allow_nan=False)) == {
        "values": {"kid": 0.5, "kid_standard_error": "nan"}, "deviations": {}, "samples": 9,
    }  # fmt: skip


def test_what_a_set_of_samples_is():
    seen = Seen(np.arange(6.0).reshape(3, 2), None, np.arange(3)).first(2)
    assert seen.features.shape == (2, 2) and seen.logits is None and list(seen.label) == [0, 1]
