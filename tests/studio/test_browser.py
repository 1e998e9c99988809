"""A person at the page, in a real Chromium: `make test-browser`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.studio.conftest import karaoke

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("TEST_BROWSER" not in os.environ, reason="run it with: make test-browser"),
]

SHOTS = Path("build/studio-screenshots")
FLAGS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the real program; return where it is."""
    folder = tmp_path_factory.mktemp("studio")
    command = [sys.executable, "-m", "megatron_music", "studio", str(model)]
    command += ["--port", "18011", "--folder", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"http://[0-9.:]+", line):
                yield found[0]
                break
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        started = running.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that fails its test if a script fails."""
    faults: list[str] = []
    opened = browser.new_page(base_url=address, viewport={"width": 1200, "height": 900})
    opened.on("pageerror", lambda fault: faults.append(str(fault)))
    opened.on("requestfailed", lambda asked: faults.append(asked.url))
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()
    outside = [one for one in faults if not one.startswith(address)]
    assert not outside, outside


def shoot(page: Any, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def until(page: Any, script: str) -> None:
    """Wait until a script is true; the page's own policy keeps other ways of waiting out."""
    for _ in range(600):
        if page.evaluate(script):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never true: {script}")


def playhead(page: Any) -> float:
    script = "document.querySelector('#roll svg > line').getAttribute('x1')"
    return float(page.evaluate(script) or 0)


def test_a_song_is_heard_seen_and_voted_for_with_keys_alone(page: Any) -> None:
    page.goto("/song/21")
    page.wait_for_selector("#files:not([hidden])")
    page.keyboard.press("Space")
    until(page, "Number(document.querySelector('#roll svg > line').getAttribute('x1')) > 1")
    begun = playhead(page)
    page.wait_for_timeout(500)
    assert playhead(page) > begun
    page.keyboard.press("u")
    until(page, "document.querySelector('#votes').value === '1'")
    shoot(page, "song")
    page.goto("/best")
    assert page.get_by_text("song 21, 1 vote").is_visible()


def test_bars_are_marked_composed_anew_kept_and_undone(page: Any) -> None:
    page.goto("/song/22")
    page.wait_for_selector("#files:not([hidden])")
    page.click("#work")
    page.wait_for_selector("#bars button")
    box = page.locator("#roll svg").bounding_box()
    y = box["y"] + 20
    page.mouse.move(box["x"] + box["width"] * 4.5 / 8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 5.5 / 8, y)
    page.mouse.up()
    marked = page.locator("#bars button[aria-pressed=true]").all_inner_texts()
    assert marked == ["5", "6"]
    page.click("#fill")
    page.wait_for_selector("#choices .card")
    assert page.locator("#choices .card").count() == 4
    shoot(page, "work")
    page.locator("#choices .card button.primary").nth(1).click()
    until(page, "document.querySelectorAll('#tree li').length === 2")
    page.click("#undo")
    until(page, "!document.querySelector('#redo').disabled")
    page.reload()
    page.wait_for_selector("#tree li")
    assert page.locator("#tree li").count() == 2
    assert page.is_enabled("#redo")
    page.click("#redo")
    until(page, "document.querySelector('#redo').disabled")


def test_an_upload_is_composed_anew_in_two_bars_and_downloaded_as_a_score(
    page: Any, tmp_path: Path
) -> None:
    page.goto("/song/23")
    page.wait_for_selector("#files:not([hidden])")
    with page.expect_download() as download:
        page.click("#midi")
    tune, bad = tmp_path / "tune.mid", tmp_path / "bad.mid"
    download.value.save_as(tune)
    bad.write_bytes(b"MThd no music")
    page.goto("/compose")
    page.set_input_files("#file", bad)
    page.click("#upload")
    until(page, "document.querySelector('#state').textContent.length > 12")
    assert "/work/" not in page.url
    page.set_input_files("#file", tune)
    page.click("#upload")
    page.wait_for_url("**/work/*")
    assert page.inner_text("#title") == "tune.mid"
    for bar in ("5", "6"):
        page.locator("#bars button").get_by_text(bar, exact=True).click()
    page.fill("[data-wish=count]", "2")
    page.click("#fill")
    page.wait_for_selector("#choices .card")
    page.locator("#choices .card button.primary").first.click()
    until(page, "document.querySelectorAll('#tree li').length === 2")
    with page.expect_download() as download:
        page.click("#score")
    download.value.save_as(tmp_path / "tune.musicxml")
    assert (tmp_path / "tune.musicxml").read_text().count('<measure number="6"') == 4


def test_four_pieces_are_composed_from_nothing(page: Any) -> None:
    page.goto("/compose")
    page.fill("#bars", "2")
    page.click("#from-nothing")
    page.wait_for_selector("#choices .card")
    shoot(page, "compose")
    page.locator("#choices .card button.primary").first.click()
    page.wait_for_url("**/work/*")


def test_a_line_follows_the_singing_of_a_karaoke_file(page: Any, tmp_path: Path) -> None:
    page.goto("/compose")
    page.set_input_files("#file", karaoke(tmp_path / "star.kar"))
    page.click("#upload")
    page.wait_for_url("**/work/*")
    page.wait_for_selector(".words span")
    under = page.locator(".words span").all_inner_texts()
    assert under == ["Twin-", "kle", "star", "how", "I", "won-", "der", "so"]
    lefts = [box["x"] for box in (one.bounding_box() for one in page.locator(".words span").all())]
    notes = [one.bounding_box()["x"] for one in page.locator("#roll svg g:last-of-type rect").all()]
    assert lefts == pytest.approx(notes, abs=3)
    assert page.inner_text(".line").strip() == "Twinkle star"
    page.click("[data-do=play]")
    sung = ["kle", "won"]
    for syllable in sung:
        until(page, f"document.querySelector('.line mark')?.textContent === {syllable!r}")
        assert page.inner_text(".words .now").startswith(syllable)
    shoot(page, "words")
    assert page.inner_text(".line").strip() == "how I wonder so"
    with page.expect_download() as download:
        page.click("#score")
    download.value.save_as(tmp_path / "star.musicxml")
    assert (tmp_path / "star.musicxml").read_text().count("<lyric") == 8


def test_each_way_to_compose_leads_to_a_version_that_a_reload_keeps(page: Any) -> None:
    page.goto("/song/24")
    page.wait_for_selector("#files:not([hidden])")
    page.click("#work")
    page.wait_for_selector("#bars button")
    page.fill("[data-wish=count]", "1")
    page.fill("#more", "1")
    page.check("[data-wish=end]")
    ways = {
        "#vary": "varied",
        "#harmonise": "composed around SOPRANO",
        "#drop": "without SOPRANO",
        "#add": "with SOPRANO",
        "#continue": "continued to 9 bars",
    }
    for way in ways:
        if way in ("#harmonise", "#drop"):
            page.locator("#tracks button").get_by_text("Soprano", exact=True).click()
        page.click(way)
        keep = page.locator("#choices .card button.primary")
        keep.wait_for()
        keep.click()
        page.wait_for_selector("#choices .card", state="detached")
    page.reload()
    page.wait_for_selector("#tree li")
    told = page.locator("#tree li").all_inner_texts()
    assert told == ["as it began", *ways.values()]
    shoot(page, "tree")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_serious_fault_of_accessibility(
    browser: Any, address: str, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(base_url=address, color_scheme=scheme)
    page.set_default_timeout(120_000)
    page.goto("/song/21")
    page.wait_for_selector("#files:not([hidden])")
    found = {"/song/21": Axe().run(page).response["violations"]}
    page.click("#work")
    page.wait_for_selector("#tree li")
    found["/work"] = Axe().run(page).response["violations"]
    for path in ("/compose", "/best", "/docs"):
        page.goto(path)
        found[path] = Axe().run(page).response["violations"]
    page.close()
    serious = {
        path: [one["id"] for one in faults if one["impact"] in ("serious", "critical")]
        for path, faults in found.items()
    }
    assert not any(serious.values()), serious


def test_a_page_fits_a_phone_in_the_dark(browser: Any, address: str) -> None:
    page = browser.new_page(
        base_url=address, viewport={"width": 390, "height": 800}, color_scheme="dark"
    )
    page.goto("/song/21")
    page.wait_for_selector("#files:not([hidden])", timeout=120_000)
    shoot(page, "phone")
    widest = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert widest <= 390
