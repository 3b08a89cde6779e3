"""The report: what the page holds, how large it gets, and that nothing in it is more than text."""

import base64
import dataclasses
import hashlib
import html.parser
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan import config, runlog
from jaxgan.cli import main
from jaxgan.errors import InputError
from jaxgan.report import Server, collect, find, page, report
from jaxgan.report.collect import MOST_RUNS, PAGE
from jaxgan.report.embed import spread
from jaxgan.rundir import Run, make

GAN = config.GANConfig(network="mlp", width=8, steps=30)
TRANSLATION = config.CycleGANConfig(a="photos", b="paintings", steps=30)
HOSTILE = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"


def write_run(path: Path, each: config.Config = GAN, shift: float = 0.0) -> Path:
    """A run as the trainer writes it: three rows, pictures of three steps, two evaluations, a checkpoint."""
    rng = np.random.default_rng(0)
    make(path, each, overwrite=False)
    with Run(path, each, {"settings": {}, "config": each.as_data(), "data": "0123456789abcdef"}, quiet=True) as run:
        run.picture("real", rng.uniform(-1, 1, (9, 8, 8, 3)))
        for i, step in enumerate((10, 20, 30)):
            metrics = {"generator_loss": 1 / 3 + i + shift, "real_accuracy": 0.9, "fake_accuracy": 0.8}
            if isinstance(each, config.CycleGANConfig):
                metrics = {"cycle/a": 0.1 + i, "discriminator_loss/b": 0.25, "adversarial/b": 2.0}
            run.row(step, metrics | {"gradient_norm/generator_loss": 3.0}, images_per_second=1e3)
            run.picture(f"{step:06d}", np.full((9, 8, 8, 3), i / 3 + shift / 10 - 0.5))
            if step > 10:
                run.evaluation(
                    step, {"fid": 40.0 - step, "recall": 0.1}, rng.uniform(-1, 1, (2, 3, 8, 8, 3)), lambda v: -v["fid"]
                )
        run.save(30, {"state": {"w": np.zeros(2)}})
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    other = dataclasses.replace(GAN, g_lr=1e-3, objective="hinge")
    return write_run(root / "one"), write_run(root / "other", other, shift=0.5)


class Parsed(html.parser.HTMLParser):
    """Elements with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.inside: list[str] = []
        self._takes = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._takes = tag in ("script", "style")
        self.inside += [""] if self._takes else []

    def handle_endtag(self, tag):
        self._takes = False

    def handle_data(self, data):
        if self._takes:
            self.inside[-1] += data


def data_of(text: str) -> dict:
    """What a page says, by an HTML parser's idea of where scripts end."""
    _, data, _ = Parsed(text).inside
    return json.loads(data)


def rows_of(columns: dict) -> list[dict]:
    """Rows out of columns."""
    rows = [
        {name: value for name, value in zip(columns, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]
    return [{name: runlog.number(value) for name, value in row.items()} for row in rows]


def test_the_page_is_one_file_that_asks_nobody(runs, tmp_path, capsys):
    main(["report", *map(str, runs), "--out", str(tmp_path / "page.html")])
    assert "page.html  0." in capsys.readouterr().out
    text = (tmp_path / "page.html").read_text()
    parsed = Parsed(text)
    ids = {attributes.get("id") for _, attributes in parsed.elements}
    for tag, attributes in parsed.elements:
        links = [value for name, value in attributes.items() if name in ("src", "href", "action", "data", "srcset")]
        assert all(link[0] == "#" and link[1:] in ids for link in links), (tag, links)
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag != "link"
    addresses = set(re.findall(r"\w+://[^\s\"'<]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@import" not in text and "url(" not in text
    labelled = {attributes["for"] for tag, attributes in parsed.elements if tag == "label" and "for" in attributes}
    assert labelled <= ids
    assert all(tag != "html" or attributes["lang"] == "en" for tag, attributes in parsed.elements)


def test_the_browser_is_told_to_run_our_script_alone(runs):
    parsed = Parsed(page(collect(runs)))
    (policy,) = (a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    style, _, script = parsed.inside
    for kind, text in {"style-src": style, "script-src": script}.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; connect-src 'self';")
    for parser_of_markup in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert parser_of_markup not in script


def test_the_data_is_what_the_files_say(runs):
    found = data_of(page(collect(runs)))
    for run, about in zip(runs, found["runs"], strict=True):
        assert about["name"] == run.name
        assert rows_of(about["rows"]) == runlog.read(run / "metrics.jsonl")
        assert rows_of(about["evaluations"]) == runlog.read(run / "evaluations.jsonl")
        assert about["config"] == json.loads((run / "config.json").read_text())
        assert about["versions"]["jaxgan"] and about["versions"]["digest of the data"] == "0123456789abcdef"
        assert [each["step"] for each in about["samples"]] == [10, 20, 30]
        assert [each["step"] for each in about["neighbours"]] == [20, 30]
        for kind, folder in (("samples", "samples"), ("neighbours", "neighbours")):
            for each in about[kind]:
                head, content = found["images"][each["image"]].split(",")
                assert head == "data:image/png;base64"
                assert base64.b64decode(content) == (run / folder / f"{each['step']:06d}.png").read_bytes()
    one, other = (about["real"][0]["image"] for about in found["runs"])
    assert one == other  # the same picture is there once


def test_evaluations_that_were_asked_for_are_there(runs, tmp_path):
    run = write_run(tmp_path / "run")
    (run / "evaluations").mkdir()
    values = {"values": {"fid": 3.5, "kid": "nan"}, "deviations": {"fid": 0.1}, "step": 30, "samples": 500, "seeds": 3}
    (run / "evaluations/000030.json").write_text(json.dumps(values))
    (run / "evaluations/000010.json").write_text("[")
    Image.new("L", (8, 8)).save(run / "evaluations/000010.png")
    (about,) = data_of(page(collect([run])))["runs"]
    assert about["measured"] == [values]
    assert [each["step"] for each in about["neighbours"]] == [10, 20, 30]
    assert about["notes"] == ["evaluations/000010.json cannot be read, and was left out."]


def test_a_translation_has_its_own_curves(tmp_path):
    (about,) = data_of(page(collect([write_run(tmp_path / "run", TRANSLATION)])))["runs"]
    assert about["rows"]["cycle/a"] == [0.1, 1.1, 2.1] and about["config"]["recipe"] == "cyclegan"


def test_a_run_that_has_nothing_yet(tmp_path):
    make(tmp_path / "run", GAN, overwrite=False)
    (about,) = data_of(page(collect(find([tmp_path / "run"]))))["runs"]
    assert about["rows"] == about["evaluations"] == about["versions"] == {}
    assert about["samples"] == about["neighbours"] == about["real"] == about["events"] == []


def test_what_is_broken_is_left_out_and_said(tmp_path):
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'no row\n{"step": "ten"}\n\xff\xfe\n')
        file.write(b'{"step": 40, "generator_loss": "nan", "word": "x", "flag": true}\n')
        file.write(b'{"step": 50, "generator_l')  # a crash cut it off
    (run / "samples/000020.png").write_bytes(b"no picture")
    (run / "samples/000030.png").write_bytes((run / "samples/real.png").read_bytes()[:60])
    (run / "events.jsonl").write_text('{"step": 3}\n' + json.dumps({"step": 4, "event": "skip", "text": "x" * 5000}))
    found = data_of(page(collect([run])))
    (about,) = found["runs"]
    assert about["rows"]["step"] == [10, 20, 30, 40] and about["rows"]["generator_loss"][-1] == "nan"
    assert "word" not in about["rows"] and "flag" not in about["rows"]
    assert about["notes"] == ["3 of the lines of metrics.jsonl are no rows, and were left out."]
    assert found["notes"] == ["2 pictures cannot be read, and were left out."]
    assert [each["step"] for each in about["samples"]] == [10]
    assert [(each["step"], each["event"], len(each["text"])) for each in about["events"]] == [
        (3, "", 0),
        (4, "skip", 1004),
    ]


def test_nothing_in_files_becomes_markup(tmp_path):
    """Names, numbers, texts and settings that try to be scripts: an HTML parser sees the page's own elements alone."""
    plain = Parsed(page(collect([write_run(tmp_path / "plain")])))
    name = HOSTILE.replace("/", "")
    run = write_run(tmp_path / name, dataclasses.replace(GAN, data_dir=HOSTILE))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, HOSTILE: 1.0, "__proto__": 2.0}) + "\n")
    (run / "events.jsonl").write_text(
        json.dumps({"step": 1, "event": HOSTILE, "text": HOSTILE + "\u2028\ud800"}) + "\n"
    )
    text = page(collect([run]))
    assert Parsed(text).elements == plain.elements
    assert "<script>window" not in text and "<img" not in text
    (about,) = data_of(text)["runs"]
    assert about["name"] == name and about["config"]["data_dir"] == HOSTILE
    assert about["events"][0]["text"].startswith(HOSTILE) and about["rows"][HOSTILE][-1] == 1.0


def test_a_long_run_stays_below_5_mb(tmp_path):
    """12 MB of pictures and 8 MB of rows: both are thinned evenly, and the page says so."""
    run = tmp_path / "run"
    make(run, GAN, overwrite=False)
    rng = np.random.default_rng(0)
    with (run / "metrics.jsonl").open("w") as file:
        for step in range(1, 40_001):
            metrics = {f"metric_{i}": value for i, value in enumerate(rng.normal(size=8).tolist())}
            file.write(json.dumps({"step": step, **metrics}) + "\n")
    for step in range(60):
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), np.uint8)).save(run / f"samples/{step:06d}.png")
    path = report([run], tmp_path / "page.html")
    assert 1_000_000 < path.stat().st_size < PAGE
    found = data_of(path.read_text())
    (about,) = found["runs"]
    steps, shown = np.array(about["rows"]["step"]), [each["step"] for each in about["samples"]]
    assert steps[0] == 1 and steps[-1] == 40_000 and np.ptp(np.diff(steps)) <= 1 and len(steps) > 2000
    assert shown[0] == 0 and shown[-1] == 59 and np.ptp(np.diff(shown)) <= 1 and len(shown) >= 10
    rows, pictures, *others = found["notes"]
    assert re.match(r"\d+\.\d\d% of the rows of the logs are shown", rows) and pictures.startswith("Pictures are WebP")
    assert others == ([f"{len(shown)} of 60 pictures are shown, evenly spread, so that the page stays below 5 MB."]
                      if len(shown) < 60 else [])  # fmt: skip
    for each in about["samples"]:
        assert found["images"][each["image"]].startswith("data:image/webp;base64,")


def test_many_runs_stay_below_5_mb(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(MOST_RUNS):
        make(tmp_path / f"sweep/seed={i}", dataclasses.replace(GAN, seed=i), overwrite=False)
        for step in range(4):
            picture = Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8))
            picture.save(tmp_path / f"sweep/seed={i}/samples/{step:06d}.png")
    found = find([tmp_path / "sweep"])
    assert len(found) == MOST_RUNS
    text = page(collect(found))
    assert len(text.encode()) < PAGE
    assert all(each["samples"] for each in data_of(text)["runs"])
    make(tmp_path / "sweep/seed=99", GAN, overwrite=False)
    with pytest.raises(InputError, match=f"33 runs are there; a page shows at most {MOST_RUNS}"):
        find([tmp_path / "sweep"])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 50])
def test_spread_is_even(count):
    items = list(range(20))
    found = spread(items, count)
    assert len(found) == len(set(found)) == min(count, 20) and found[-1] == 19
    assert count == 1 or (found[0] == 0 and np.ptp(np.diff(found)) <= 1)


def test_runs_are_named_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/run", "b/run"):
        make(Path(name), GAN, overwrite=False)
    assert find(["a/run", "a/run", tmp_path / "a/run"]) == [Path("a/run")]
    assert [each["name"] for each in collect(find(["a/run", "b"]))["runs"]] == ["a/run", "b/run"]


# The server.


@pytest.fixture
def served(tmp_path):
    run = write_run(tmp_path / "run")
    with Server([run], 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield run, server
        server.shutdown()
        thread.join()


def ask(server: Server, path: str, host: str | None = "", method: str = "GET") -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def test_the_server_has_the_page_and_its_data(served):
    run, server = served
    status, content, headers = ask(server, "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    shown = data_of(content.decode())
    assert ("body", {"data-live": "live"}) in Parsed(content.decode()).elements
    status, content, headers = ask(server, "/data")
    assert status == 200 and headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(content) == shown
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(server, f"/data?version={shown['version']}")[:2] == (204, b"")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "generator_loss": 0.25}\n')
    status, content, _ = ask(server, f"/data?version={shown['version']}")
    assert status == 200 and json.loads(content)["runs"][0]["rows"]["step"][-1] == 40


@pytest.mark.parametrize(
    "path",
    ["/config.json", "/metrics.jsonl", "/../run/config.json", "/%2e%2e/run/config.json", "//etc/passwd", "/etc/passwd",
     "/samples/real.png", "/index.html", "/data/../config.json", "data", "file:///etc/passwd"],
)  # fmt: skip
def test_no_file_is_served(served, path):
    status, content, _ = ask(served[1], path)
    assert status == 404 and content == b"There is the page, /, and its data, /data."


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "127.0.0.1:1", None])
def test_other_names_are_refused(served, host):
    """A site whose name was made to lead to this machine (DNS rebinding) is told nothing."""
    name = host and host.format(port=served[1].server_port)
    for path in ("/", "/data"):
        status, content, _ = ask(served[1], path, name)
        assert status == 403 and b"generator_loss" not in content
    assert ask(served[1], "/data", f"localhost:{served[1].server_port}")[0] == 200


def test_nothing_can_be_sent_and_nobody_else_can_ask(served):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(served[1], "/data", method=method)[0] == 501
    assert served[1].socket.getsockname()[0] == "127.0.0.1"


def test_a_run_that_was_deleted_is_an_answer(served):
    run, server = served
    (run / "config.json").write_text("{")
    status, content, _ = ask(server, "/data")
    assert status == 503 and b"cannot be read as a configuration" in content


def test_a_port_that_is_taken(runs):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"Port {port} cannot be had: .*in use.*--port"):
            Server(runs, port)


def test_ctrl_c_ends_it(runs):
    # A shell starts its background jobs, of which these tests may be one, deaf to Ctrl-C.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from jaxgan.cli import main; main()"
    command = [sys.executable, "-c", code, "watch", str(runs[0]), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/  \(Ctrl-C ends\)\n", line)
        port = int(line.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        assert b"generator_loss" in connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "ended\n", "")
