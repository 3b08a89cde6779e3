"""The report in a browser: what a person sees, moves and reads."""

import dataclasses
import json
import shutil
import threading

import pytest
from test_report import GAN, HOSTILE, write_run

from jaxgan.diagnostics import NAMES
from jaxgan.report import Server, report
from jaxgan.rundir import make

playwright = pytest.importorskip("playwright.sync_api", reason="the Python client of browsers is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return write_run(root / "one"), write_run(root / "other", dataclasses.replace(GAN, g_lr=1e-3), shift=0.5)


@pytest.fixture
def open_page(browser, tmp_path):
    """``runs -> page``, in which nothing may go wrong and nobody be asked."""
    wrong: list[str] = []
    pages = []

    def open_page(runs, **options):
        page = browser.new_page(**options)
        pages.append(page)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.goto(report(runs, tmp_path / "page.html").as_uri())
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def move(page, name: str, value: float) -> None:
    page.evaluate(
        """([id, value]) => {
             document.getElementById(id).value = value;
             document.getElementById(id).dispatchEvent(new Event("input"));
           }""",
        [name, value],
    )


def chart(page, name: str):
    return page.locator(f'[data-chart="{name}"]')


def test_the_slider_moves_through_the_pictures(runs, open_page):
    page = open_page(runs[:1])
    image = page.locator("#samples .pictures img").first
    seen = {}
    assert page.locator("#samples-step").input_value() == "2"  # the newest
    for i, step in enumerate((10, 20, 30)):
        move(page, "samples-step", i)
        assert image.get_attribute("alt") == f"Samples of one at step {step}"
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 20
        seen[step] = image.screenshot()
    assert len({*seen.values()}) == 3
    page.locator("#samples-step").focus()
    page.keyboard.press("ArrowLeft")
    assert image.get_attribute("alt") == "Samples of one at step 20" and image.screenshot() == seen[20]
    assert page.locator("#samples-step").get_attribute("aria-valuetext") == "step 20"
    assert page.locator("#neighbours img").first.get_attribute("alt") == "Nearest neighbours of one at step 30"


def test_the_value_under_the_cursor_is_read(runs, open_page):
    page = open_page(runs)
    figure = chart(page, "generator_loss")
    move(page, "smooth", 0)
    svg, tip = figure.locator("svg[role=img]"), figure.locator(".tip")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert tip.is_hidden()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + box["height"] / 2)  # step 30 is at the right
    assert tip.locator("p").all_inner_texts() == ["one: 2.333 at step 30", "other: 2.833 at step 30"]
    assert tip.bounding_box()["height"] < 0.3 * box["height"]
    page.mouse.move(box["x"], box["y"] - 50)
    assert tip.is_hidden()
    svg.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert tip.locator("p").first.inner_text() == "one: 1.333 at step 20"
    assert "Last values: one: 2.333 at step 30; other: 2.833 at step 30" in svg.get_attribute("aria-label")


def test_smoothing_moves_the_curve_as_its_mean(runs, open_page):
    page = open_page(runs[:1])
    figure = chart(page, "generator_loss")
    raw = figure.locator(".pale").get_attribute("d")
    move(page, "smooth", 0.5)
    assert figure.locator(".pale").get_attribute("d") == raw != figure.locator(".curve").last.get_attribute("d")
    figure.locator("svg[role=img]").focus()
    page.keyboard.press("End")
    # Means of 1/3, 4/3, 7/3 with weights 1/4, 1/2, 1: 37/21 = 1.762
    assert figure.locator(".tip").inner_text() == "2.333 (smoothed 1.762) at step 30"
    move(page, "smooth", 0)
    assert figure.locator(".pale").count() == 0 and figure.locator(".curve").last.get_attribute("d") == raw


def test_two_runs_stand_beside_each_other(runs, open_page):
    page = open_page(runs)
    images = page.locator("#samples > .pictures img")
    assert images.count() == 2
    assert images.nth(0).bounding_box()["y"] == images.nth(1).bounding_box()["y"]
    assert images.nth(0).get_attribute("src") != images.nth(1).get_attribute("src")
    assert page.locator("#real img").count() == 1  # both learn from the same data
    differing = page.locator("#config tr.differs th").all_inner_texts()
    assert differing == ["≠ g_lr"]
    assert page.locator("#config tbody tr").count() > 20
    page.locator("#differing").check()
    assert page.locator("#config tbody tr").all_inner_texts() == ["≠ g_lr\t0.0002\t0.001"]
    figure = chart(page, "generator_loss")
    assert figure.locator(".pale").count() == 2
    page.locator('[data-run="other"]').uncheck()
    assert figure.locator(".pale").count() == 1
    assert "10 at step 30" in page.locator("#metrics").inner_text()  # the best FID


def test_what_files_say_is_text(tmp_path, open_page):
    run = write_run(tmp_path / HOSTILE.replace("/", ""), dataclasses.replace(GAN, data_dir=HOSTILE))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, HOSTILE: 1.0, "__proto__": 2.0, "constructor": 3.0}) + "\n")
    (run / "events.jsonl").write_text(json.dumps({"step": 1, "event": HOSTILE, "text": HOSTILE}) + "\n")
    page = open_page([run])
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 2 and page.locator("[onerror]").count() == 0
    assert page.locator("#events td").all_inner_texts()[1:] == [HOSTILE, HOSTILE]
    assert HOSTILE in page.locator("figcaption").all_inner_texts() and run.name in page.locator("#runs").inner_text()


def test_a_run_that_has_nothing_yet(tmp_path, open_page):
    make(tmp_path / "run", GAN, overwrite=False)
    page = open_page([tmp_path / "run"])
    text = page.locator("body").inner_text()
    assert "metrics.jsonl has no rows yet" in text and "There are no rows yet." in text
    assert "There are no pictures yet." in text and "Nothing has been measured yet." in text


def test_what_is_not_finite_is_marked(tmp_path, open_page):
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "generator_loss": "nan"}\n{"step": 50, "generator_loss": 1.0}\n')
    figure = chart(open_page([run]), "generator_loss")
    assert figure.locator(".gone").all_text_contents() == ["×"]
    assert figure.locator(".curve").last.get_attribute("d").count("M") == 2  # the curve has a gap


@pytest.mark.parametrize("ends", [[""], ["/a", "/b"]])
def test_diagnostics_have_curves_of_their_own(tmp_path, open_page, ends):
    run = write_run(tmp_path / "run")
    names = [f"{name}{end if i > 1 else ''}" for i, name in enumerate(NAMES) for end in (ends if i > 1 else [""])]
    rows = [{"step": 10 * i, "fid": 5.0} | {name: i + j / 8 for j, name in enumerate(names)} for i in (1, 2, 3)]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = open_page([run])
    game, others = page.locator('[data-family="The game"]'), page.locator('[data-family="Evaluations"]')
    assert game.locator("figcaption").all_inner_texts() == names
    assert others.locator("figcaption").all_inner_texts() == ["fid"]
    assert "drives them apart" in game.locator(".hint").inner_text()
    for j, name in enumerate(names):
        figure = game.locator(f'[data-chart="{name}"]')
        assert figure.locator(".curve").last.get_attribute("d").count("L") == 2  # three points
        figure.locator("svg[role=img]").focus()
        page.keyboard.press("End")
        assert figure.locator(".tip").inner_text() == f"{3 + j / 8:g} at step 30"


@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_light_and_dark(runs, open_page, scheme, dark):
    page = open_page(runs, color_scheme=scheme)
    rgb = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(rgb) < 3 * 40) == dark and (sum(rgb) > 3 * 240) != dark


def test_everything_has_a_name_and_fits_a_phone(runs, open_page):
    page = open_page(runs, viewport={"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, img, [tabindex]")].filter((each) =>
             !each.alt && !each.getAttribute("aria-label") && !(each.labels && each.labels.length)).length"""
    )
    assert nameless == 0


@pytest.fixture
def served(tmp_path):
    run = write_run(tmp_path / "run")
    server = Server([run], 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    yield run, server.url, stop
    stop()


def test_a_run_that_trains_is_followed(served, browser):
    run, url, stop = served
    page = browser.new_page(viewport={"width": 900, "height": 500})
    page.goto(url)
    page.get_by_text("Live: as of").wait_for()
    move(page, "samples-step", 1)
    move(page, "smooth", 0.3)
    page.evaluate("window.scrollTo(0, 700)")
    figure = chart(page, "generator_loss")
    figure.locator("svg[role=img]").focus()
    page.keyboard.press("Home")
    position = page.evaluate("window.scrollY")
    assert position > 100
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "generator_loss": 0.125}\n')
    (run / "samples/000040.png").write_bytes((run / "samples/000010.png").read_bytes())
    page.locator("#samples-step[max='3']").wait_for()
    assert "40 of 30" in page.locator("#runs").inner_text()
    assert page.evaluate("window.scrollY") == position
    assert page.locator("#samples-step").input_value() == "1" and page.locator("#smooth").input_value() == "0.3"
    assert page.locator("#samples img").first.get_attribute("alt") == "Samples of run at step 20"
    assert figure.locator(".tip").inner_text() == "0.3333 at step 10"  # still in focus
    assert "0.125 at step 40" in figure.locator("svg[role=img]").get_attribute("aria-label")
    stop()
    page.get_by_text("Not up to date").wait_for()
    page.close()
