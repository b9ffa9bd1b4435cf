"""The page of the service in a real browser: drawn on, typed into, on a phone, in the dark, by keyboard."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import expect, sync_playwright

from mlpax.data.columns import Columns, Number
from mlpax.data.numerals import Numerals
from mlpax.engine.forward import Network
from mlpax.model.model import Model, Target

CHROMIUM = shutil.which("chromium")
STROKES = Path(os.environ.get("MLPAX_DATA_DIR", ""), "../strokes.json")

REPORT = """<!doctype html><html lang="en"><title>A run</title>
<style>body { height: 2200px; background: #fff; color: #000 }</style><h1>A run</h1>"""

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a browser; apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as own:
        chromium = own.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def train(*words):
    subprocess.run([sys.executable, "-m", "mlpax", "train", *map(str, words), "--quiet"], check=True)


@contextmanager
def serving(run, **environment):
    """Serve a run in a process of its own, and give its address."""
    command = [sys.executable, "-m", "mlpax", "serve", str(run), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        try:
            yield re.search(r"http://[\w.:]+", process.stdout.readline())[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("page") / "digits"
    train("digits", "--out", run)
    return run


@pytest.fixture(scope="module")
def digits(digits_run):
    with serving(digits_run) as address:
        yield address


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A regression on a number, a date, a category and one of many levels, trained on folds."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    lines = ["area,built,kind,street,price"]
    for i in range(400):
        area, kind = rng.integers(30, 200), rng.integers(3)
        day = f"20{i % 20:02}-{i % 12 + 1:02}-{i % 28 + 1:02}"
        street = f"street {rng.integers(40)}"
        lines.append(
            f"{area},{day},{['flat', 'house', 'barn'][kind]},{street},{area * (2 + kind) + rng.normal():.2f}"
        )
    (folder / "homes.csv").write_text("\n".join(lines))
    train(folder / "homes.csv", "--folds", 3, "--members", 2, "--epochs", 30, "--out", folder / "homes")
    with serving(folder / "homes") as address:
        yield address


@contextmanager
def opened(browser, address, *, width=1180, scheme="light", wait="#bars li, #contributions li", report=None):
    """Open the page. An error in its script, or a request to elsewhere, fails the test.

    A report may be given in place of the service's, which takes seconds to make.
    """
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith((address, "data:")) or faults.append(request.url)
    )
    if report:
        page.route("**/report", lambda route: route.fulfill(body=report, content_type="text/html"))
    try:
        page.goto(address)
        page.wait_for_selector(wait, state="attached")
        yield page
    finally:
        page.close()
    assert faults == []


def draw(page, strokes):
    """Draw strokes with the mouse, and wait until the answer and why are there."""
    box = page.locator("#canvas").bounding_box()
    places = [
        [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in one] for one in strokes
    ]
    for first, *others in places:
        page.mouse.move(*first)
        page.mouse.down()
        for place in others:
            page.mouse.move(*place)
        page.mouse.up()
    settle(page)


def settle(page):
    """Wait until the newest request is answered."""
    expect(page.locator("#panel-try")).to_have_attribute("aria-busy", "false")


def numbers(page, place):
    """Return the numbers in a text of the page."""
    found = re.findall(r"[−-]?\d[\d,.]*", page.locator(place).inner_text())
    return [float(text.replace(",", "").replace("−", "-").rstrip(".")) for text in found]


def leading(page):
    return page.locator("#bars .first .label").inner_text()


SEVEN = [[(0.3, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.62), (0.45, 0.8)]]


def test_a_seven_leads_and_is_cleared(browser, digits):
    with opened(browser, digits) as page:
        draw(page, SEVEN)
        assert leading(page) == "7"
        assert page.locator("#answer").inner_text().startswith("7")
        expect(page.locator("#said")).to_contain_text("7, ")  # to be heard
        page.click("#clear")
        expect(page.locator("#answer")).to_have_text("–")
        assert page.locator("#bars .first").count() == 0
        pixels = "drawn => [...drawn.getContext('2d').getImageData(0, 0, 280, 280).data]"
        assert not any(page.evaluate(pixels, page.query_selector("#canvas")))


@pytest.mark.skipif(not STROKES.is_file(), reason="needs the drawn digits")
def test_digits_drawn_by_hand(browser, data_dir, tmp_path):
    """At least 27 of 30, by the default recipe on MNIST."""
    train("mnist", "--data-dir", data_dir / "mnist", "--out", tmp_path / "mnist")
    right = []
    with serving(tmp_path / "mnist") as address, opened(browser, address) as page:
        for one in json.loads(STROKES.read_text()):
            page.click("#clear")
            expect(page.locator("#answer")).to_have_text("–")
            draw(page, one["strokes"])
            right.append(leading(page) == str(one["digit"]))
    assert len(right) == 30
    assert sum(right) >= 27


def test_by_keyboard_alone(browser, digits):
    with opened(browser, digits) as page:
        for name in ("Skip to the content", "Try it", "canvas"):
            page.keyboard.press("Tab")
            focused = page.evaluate("[document.activeElement.id, document.activeElement.textContent]")
            assert name in focused
        for key, count in {"ArrowUp": 8, "ArrowLeft": 5}.items():
            for _ in range(count):
                page.keyboard.press(key)
        page.keyboard.press("Space")
        expect(page.locator("#pen")).to_have_text("The pen is down.")
        for key, count in {"ArrowRight": 10, "ArrowDown": 16, "ArrowLeft": 10, "ArrowUp": 16}.items():
            for _ in range(count):
                page.keyboard.press(key)
        page.keyboard.press("Space")
        settle(page)
        assert leading(page) == "0"
        page.keyboard.press("Escape")
        expect(page.locator("#answer")).to_have_text("–")
        page.focus("#tab-try")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-run"
        assert page.locator("#panel-run").is_visible()
        assert not page.locator("#panel-try").is_visible()


def test_pictures_to_choose_from(browser, digits):
    """Each button names its class, and for a wrong one what it is read as; some are wrong."""
    with opened(browser, digits, wait="#samples button") as page:
        buttons = page.locator("#samples button").all()
        names = [button.get_attribute("aria-label") for button in buttons]
        assert len(names) == 24
        wrong = [i for i, name in enumerate(names) if "read as" in name]
        assert 1 <= len(wrong) <= 8
        for i in (wrong[0], next(i for i in range(24) if i not in wrong)):
            buttons[i].click()
            settle(page)
            assert leading(page) == names[i].split()[-1]
            verdict = "wrong" if i in wrong else "right"
            expected = f"The true class is {names[i].split(',')[0]}. The network is {verdict}."
            assert page.locator("#truth").inner_text() == expected
            assert buttons[i].get_attribute("aria-pressed") == "true"
        page.click("#clear")
        assert page.locator("#samples [aria-pressed=true]").count() == 0
        assert page.locator("#truth").is_hidden()


def test_an_upload_and_a_file_that_is_none(browser, digits, tmp_path):
    picture = Image.new("L", (80, 80))
    ImageDraw.Draw(picture).ellipse((18, 2, 62, 78), outline=255, width=14)
    picture.save(tmp_path / "zero.png")
    (tmp_path / "none.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    with opened(browser, digits) as page:
        page.set_input_files("#upload", tmp_path / "zero.png")
        expect(page.locator("#method")).not_to_be_empty()
        settle(page)
        assert leading(page) == "0"
        page.set_input_files("#upload", tmp_path / "none.png")
        page.wait_for_selector("#notice:not([hidden])")
        expect(page.locator("#notice")).to_contain_text("the picture cannot be read")
        draw(page, SEVEN)
        assert not page.locator("#notice").is_visible()


def test_colour_pictures_are_uploaded_not_drawn(browser, tmp_path):
    for name, colour in {"red": (200, 30, 30), "blue": (30, 30, 200)}.items():
        (tmp_path / f"set/{name}").mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (12, 12), tuple(part + i for part in colour)).save(
                tmp_path / f"set/{name}/{i}.png"
            )
    train(tmp_path / "set", "--colour", "--size", 12, "--epochs", 20, "--out", tmp_path / "run")
    with serving(tmp_path / "run") as address, opened(browser, address, wait="#samples button") as page:
        assert page.locator("#canvas").is_hidden()
        page.set_input_files("#upload", tmp_path / "set/red/3.png")
        expect(page.locator("#method")).not_to_be_empty()
        settle(page)
        assert leading(page) == "red"
        pixel = "canvas => [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
        assert page.evaluate(pixel, page.query_selector("#seen")) == [203, 33, 33, 255]


def test_the_form_of_a_table(browser, table):
    with opened(browser, table, wait="#contributions li") as page:
        labels = page.locator("#row label").all_inner_texts()
        assert labels == ["area", "built", "kind", "street"]
        page.get_by_label("area").fill("180")
        page.get_by_label("kind").select_option("house")  # whose price is three times the area
        for value in ("180", "house"):
            expect(page.locator("#contributions")).to_contain_text(value)
        settle(page)
        price = numbers(page, "#answer")[0]
        assert price == pytest.approx(540, rel=0.15)
        share, low, high = numbers(page, "#range")
        assert share == 90
        assert low < price < high
        assert page.locator("#contributions .label").first.inner_text() == "area\n180"
        base, end = numbers(page, "#base")
        assert end == price
        parts = [numbers(page, f"#contributions li:nth-child({i}) .value")[0] for i in range(1, 5)]
        assert base + sum(parts) == pytest.approx(price, abs=1)
        assert "Shapley" in page.locator("#method").inner_text()
        page.get_by_label("street").fill("Street 5")
        expect(page.get_by_text("The model does not know this value.")).to_be_visible()
        page.get_by_label("street").fill("street 5")
        expect(page.get_by_text("The model does not know this value.")).to_have_count(0)
        page.get_by_label("built").fill("no day")
        expect(page.get_by_label("built")).to_have_attribute("aria-invalid", "true")
        fault = page.get_by_label("built").get_attribute("aria-describedby")
        expect(page.locator(f"#{fault}")).to_contain_text("'no day'")
        page.get_by_label("built").fill("")  # missing
        expect(page.locator("[aria-invalid]")).to_have_count(0)
        expect(page.locator("#others")).to_have_text("1 other column contributed nothing.")
        assert page.locator("#notice").is_hidden()


@pytest.mark.parametrize("kind", ["digits", "table"])
def test_on_a_phone_in_the_dark(browser, request, kind):
    address = request.getfixturevalue(kind)
    with opened(browser, address, width=375, scheme="dark", report=REPORT) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert max(light) < 40
        page.click("#tab-run")
        page.wait_for_selector("iframe")
        assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_the_second_tab_shows_the_report_in_full_height(browser, digits):
    with opened(browser, digits, report=REPORT) as page:
        page.click("#tab-run")
        expect(page.frame_locator("iframe[title='Report of the run']").locator("h1")).to_have_text("A run")
        expect(page.locator("iframe")).to_have_css("height", re.compile(r"^2\d\d\d"))
        assert not page.locator("#panel-try").is_visible()


@pytest.mark.skipif(not find_spec("mlpax.serve.report"), reason="needs the report")
@pytest.mark.parametrize("kind", ["digits", "table"])
def test_the_report_of_the_service(browser, request, kind):
    with opened(browser, request.getfixturevalue(kind)) as page:
        page.click("#tab-run")
        expect(page.frame_locator("iframe").locator("h1")).to_be_visible(timeout=60_000)
        assert page.frame_locator("iframe").locator("img, svg").count() > 0


def test_a_model_file_has_no_report(browser, digits_run):
    with serving(digits_run / "model.safetensors") as address, opened(browser, address) as page:
        page.click("#tab-run")
        expect(page.locator("#panel-run")).to_contain_text("no report, because the service was started with")
        page.click("#tab-try")
        page.click("#tab-run")
        assert page.locator("#panel-run").inner_text().count("There is no report") == 1
        page.click("#tab-try")
        expect(page.locator("#samples-part")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["digits", "table"])
def test_no_serious_fault_of_accessibility(browser, request, kind, scheme):
    """As axe-core finds them, on both tabs."""
    with opened(browser, request.getfixturevalue(kind), scheme=scheme, report=REPORT) as page:
        if kind == "digits":
            draw(page, SEVEN)
        for tab in ("try", "run"):
            page.click(f"#tab-{tab}")
            if tab == "run":
                page.frame_locator("iframe").locator("h1").wait_for()
            found = Axe().run(page).response["violations"]
            serious = [
                (one["id"], one["nodes"][0]["html"])
                for one in found
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == []


def test_a_service_with_a_token_asks_for_it(browser, digits_run):
    with (
        serving(digits_run, MLPAX_TOKEN="open sesame") as address,
        opened(browser, address, wait="#token:not([hidden])") as page,
    ):
        page.fill("#token-text", "wrong")
        page.press("#token-text", "Enter")
        expect(page.locator("#notice")).to_contain_text("token")
        assert page.locator("#canvas").count() == 0
        page.fill("#token-text", "open sesame")
        page.evaluate("[1, 2].forEach(() => document.querySelector('#token button').click())")
        expect(page.locator("#samples button").first).to_be_visible()
        assert page.locator("#canvas").count() == 1
        expect(page.get_by_text("HTTP interface")).to_be_hidden()
        assert page.locator("#token").is_hidden()
        draw(page, SEVEN)
        assert leading(page) == "7"
        page.click("#tab-run")
        expect(page.locator("#panel-run")).to_contain_text("asks for a token")


def test_times_bounds_and_what_is_no_number(browser, tmp_path):
    columns = Columns((
        Number("hour", 45000.0, 3600.0, clock=True), Number("dose", 1.0, 1.0, numerals=Numerals(bounds=True)),
        Number("age", 40.0, 1.0),
    ))  # fmt: skip
    network = Network([(np.array([[0, 1]] * 4, np.float32), np.zeros(2, np.float32))])
    goal = Target("late", "classification", (False, True))
    Model((network,), (goal,), columns=columns).save(tmp_path / "times.safetensors")
    with serving(tmp_path / "times.safetensors") as address, opened(browser, address) as page:
        settle(page)
        assert page.get_by_label("hour").input_value() == "12:30"
        page.get_by_label("hour").fill("13:30")
        expect(page.locator("#contributions")).to_contain_text("13:30")
        settle(page)
        share = page.locator("#bars .first .value").inner_text()
        assert page.locator("#answer").inner_text() == f"true{share}"
        page.get_by_label("dose").fill("<0.5")
        expect(page.locator("#contributions")).to_contain_text("<0.5")
        page.get_by_label("age").press_sequentially("1e")
        expect(page.locator(".fault").nth(2)).to_have_text("This is no number. Write one such as 12.5.")
        page.get_by_label("age").fill("41")
        expect(page.locator("[aria-invalid]")).to_have_count(0)
        assert page.locator("#contributions").inner_text().count("missing") == 0


def test_the_likeliest_class_of_each_target_leads(browser, tmp_path):
    columns = Columns((Number("size", 0.0, 1.0),))
    network = Network([(np.array([[3, 0, 0, 1]], np.float32), np.zeros(4, np.float32))])
    goals = (
        Target("kind", "classification", ("flat", "house")),
        Target("sold", "classification", ("no", "yes")),
    )
    Model((network,), goals, columns=columns).save(tmp_path / "two.safetensors")
    with serving(tmp_path / "two.safetensors") as address, opened(browser, address) as page:
        for size, leading in (("2", ["kind: flat", "sold: yes"]), ("-2", ["kind: house", "sold: no"])):
            page.get_by_label("size").fill(size)
            expect(page.locator("#bars .first .label")).to_have_text(leading)
            expect(page.locator("#answer .line")).to_have_count(2)
