"""The page in a headless Chromium: what a visitor does; nothing is asked of other hosts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.images import make_image

from .conftest import Live, serving
from .fake import FakeBackend

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no Chromium here: apt-get install chromium", allow_module_level=True)
sync = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")

QUESTION = "one two three four"


class Visit:
    """A page in the browser, with everything that it complained of or asked for."""

    def __init__(self, browser: Any, live: Live, path: str = "/", **options: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
        self.live = live
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(live.url + path)
        self.page.locator("#methods .pill").first.wait_for()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.live.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def ask(self, question: str = QUESTION, *, image: bool = True) -> None:
        if image:
            self.page.click("#demo")
            self.page.locator("#images img").wait_for()
        self.page.fill("#question", question)
        self.page.click("#send")

    def answer(self, method: str, turn: int = 0) -> Any:
        return self.page.locator(f'.turn >> nth={turn} >> article[data-method="{method}"]')

    def finished(self, count: int = 3) -> None:
        self.page.locator("article.answer:not(.writing)").nth(count - 1).wait_for()
        self.page.locator("#stop").wait_for(state="hidden")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as player:
        opened = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving() as start:
        yield start(FakeBackend(pause=0.01))


@pytest.fixture
def visit(browser: Any, live: Live) -> Iterator[Visit]:
    visit = Visit(browser, live)
    yield visit
    visit.page.close()
    assert visit.complaints == []
    assert visit.foreign == []


def test_three_answers_and_what_speaks_for_a_word(visit: Visit) -> None:
    visit.ask()
    visit.finished()
    page = visit.page
    for method in ("regular", "ritual", "vcd"):
        text = visit.answer(method).locator(".text").inner_text()
        assert text == f"{method} seed0 images1 {QUESTION}"
    assert visit.answer("vcd").locator(".differs").all_inner_texts() == ["vcd"]
    assert visit.answer("vcd").locator(".changed").all_inner_texts() == ["two"]
    assert visit.answer("regular").locator(".changed, .differs").count() == 0
    visit.answer("vcd").locator(".word", has_text="two").hover()
    facts = page.locator("#detail .facts").inner_text()
    assert "original" in facts
    assert "noised" in facts
    assert "75.0%" in facts
    assert "other" in facts  # what regular would have said
    assert page.locator("#detail .bars").count() == 3


def test_attention(visit: Visit) -> None:
    visit.ask()
    visit.finished()
    visit.answer("vcd").locator(".word").nth(2).click()
    page = visit.page
    page.locator("#attention figure canvas").nth(1).wait_for()
    captions = page.locator("#attention figcaption").all_inner_texts()
    assert [text.split(" ")[0] for text in captions] == ["original", "noised:"]
    sizes = page.locator("#attention canvas").first.evaluate("one => [one.width, one.height]")
    assert sizes == [3, 2]
    page.select_option("#layer", "1")
    page.select_option("#head", "0")
    assert page.locator("#layer").input_value() == "1"


def test_by_keyboard(visit: Visit) -> None:
    visit.ask()
    visit.finished()
    page = visit.page
    visit.answer("ritual").locator(".word").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "images1"
    assert "images1" in page.locator("#spoken").inner_text()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == "four"
    page.keyboard.press("Enter")
    page.locator("#attention h3").wait_for()
    page.keyboard.press("Escape")
    assert not page.locator("#inspector").is_visible()
    # One stop of the Tab key per answer, however many words it has.
    assert visit.answer("ritual").locator('.word[tabindex="0"]').count() == 1


def test_a_conversation_goes_on_from_the_chosen_answer(visit: Visit) -> None:
    visit.ask()
    visit.finished()
    visit.answer("vcd").get_by_role("radio").check()
    with visit.page.expect_request("**/compare") as asked:
        visit.ask("and now", image=False)
    messages = asked.value.post_data_json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"].startswith("vcd seed0")
    visit.finished(6)
    assert visit.answer("regular", 1).locator(".text").inner_text().endswith("and now")
    visit.page.click("#new")
    assert visit.page.locator(".turn").count() == 0


def test_methods_parameters_and_the_link(visit: Visit, browser: Any, live: Live) -> None:
    page = visit.page
    for name in ("vcd", "apc"):
        page.locator(f'.pill:has(input[value="{name}"])').click()
    ritual = page.locator('details[data-method="ritual"]')
    ritual.locator("summary").click()
    ritual.locator('input[data-name="alpha"]').fill("2")
    page.fill("#own", "vcd:alpha=2+icd; ")
    page.locator("#parameters > summary").click()
    page.fill("#set-seed", "7")
    page.fill("#set-num_beams", "1")
    page.fill("#set-temperature", "0.5")
    visit.ask()
    visit.finished(4)
    assert visit.answer("ritual:alpha=2").locator(".text").inner_text().startswith("ritual:alpha=2")
    assert visit.answer("apc").locator(".tag.control").is_visible()
    assert "seed7" in visit.answer("regular").locator(".text").inner_text()
    path = page.url.removeprefix(live.url)
    assert path.startswith("/#q=one")
    again = Visit(browser, live, path)
    again.page.locator("#images img").wait_for()  # the example can be taken again
    assert again.page.locator("#question").input_value() == QUESTION
    assert again.page.locator("#count").inner_text() == "4 chosen"
    again.page.click("#send")
    again.finished(4)
    for method in ("regular", "ritual:alpha=2", "apc", "vcd:alpha=2+icd"):
        texts = [one.answer(method).locator(".text").inner_text() for one in (visit, again)]
        assert texts[0] == texts[1]
    again.page.close()


def test_a_link_names_the_image_that_it_needs(browser: Any, live: Live, tmp_path: Path) -> None:
    file = tmp_path / "own.png"
    make_image(3).save(file)
    visit = Visit(browser, live)
    visit.page.set_input_files("#file", str(file))
    visit.page.locator("#images img").wait_for()
    visit.ask(image=False)
    visit.finished()
    again = Visit(browser, live, visit.page.url.removeprefix(live.url))
    hint = again.page.locator("#drop-hint")
    assert "another image" in hint.inner_text()
    again.page.set_input_files("#file", str(file))
    again.page.locator("#images img").wait_for()
    assert "another image" not in hint.inner_text()
    for one in (visit, again):
        one.page.close()


def test_a_scene_whose_truth_is_known(browser: Any, live: Live) -> None:
    """What an answer makes up is marked and counted; the next scene is a press away."""
    there = live.http.get("/v1/secondsight/scenes/5").json()["objects"][0]["name"]
    absent = next(one for one in ("zebra", "toaster") if one != there)
    question = f"one {absent} and one {there}"
    visit = Visit(browser, live, f"/#q={quote(question)}&m=regular&img=scene-5")
    page = visit.page
    page.locator("#images img").wait_for()
    assert page.locator("#ideas button").count() > 3
    page.click("#send")
    page.locator(".next").wait_for()
    answer = visit.answer("regular")
    assert answer.locator(".invented").all_inner_texts() == [absent]
    assert "1 of 2 mentions made up" in answer.locator("header").inner_text()
    truth = page.locator(".truth")
    assert not truth.evaluate("one => one.open")
    truth.locator("summary").click()
    assert there in truth.inner_text()
    assert page.url.endswith("img=scene-5")
    page.click("#new")
    page.click("#scene")
    page.locator("#images img").wait_for()
    page.locator("#ideas button").nth(1).click()
    page.click("#send")  # a question with a known answer, which this engine never gives
    page.locator(".next").wait_for()
    assert "wrong" in visit.answer("regular").locator("header").inner_text()
    page.click(".next")
    page.locator("#totals", has_text="0 of 2").wait_for()
    assert "1 of 2" in page.locator("#totals").inner_text()
    assert page.locator(".turn").count() == 1
    assert visit.complaints == visit.foreign == []
    page.close()


def test_doubtful_words_are_marked(browser: Any) -> None:
    doubts = [
        {"start": 24, "end": 29, "object": "dog", "probability": 0.8},
        {"start": 33, "end": 38, "object": "there", "probability": 0.2},
    ]
    with serving() as start:
        visit = Visit(browser, start(FakeBackend(facts={"doubts": doubts, "doubtful": 0.3})))
        visit.ask("\U0001f436 a dog is there")  # an emoji is one character, and two to a browser
        visit.finished()
        answer = visit.answer("regular")
        text = answer.locator(".text").inner_text()
        assert text[24:29] == "a dog"
        assert answer.locator(".doubtful").all_inner_texts() == ["a", "dog"]
        assert "80.0%" in answer.locator(".doubtful").first.get_attribute("title")
        visit.page.close()


def test_stop(browser: Any) -> None:
    with serving() as start:
        backend = FakeBackend(pause=0.05)
        visit = Visit(browser, start(backend))
        visit.ask("word " * 300)
        visit.page.locator("article .word").nth(3).wait_for()
        visit.page.click("#stop")
        visit.finished()
        assert "stopped" in visit.answer("regular").locator("footer").inner_text()
        for _ in range(200):
            if backend.cancelled == 3:
                break
            visit.page.wait_for_timeout(20)
        assert backend.cancelled == 3
        visit.page.close()


def test_an_error_says_what_the_server_said(browser: Any, live: Live) -> None:
    visit = Visit(browser, live)
    visit.page.locator('details[data-method="ritual"] summary').click()
    visit.page.locator('input[data-name="transform"]').first.fill("upside-down")
    visit.ask()
    banner = visit.page.locator("#banner")
    banner.wait_for()
    assert "upside-down" in banner.inner_text()
    assert "400" in banner.inner_text()
    assert visit.page.locator("#question").input_value() == QUESTION  # to be mended
    assert visit.page.locator("#images img").count() == 1
    visit.page.close()


def test_a_key_is_asked_for(browser: Any) -> None:
    with serving() as start:
        live = start(keys=("correct-horse",))
        page = browser.new_page()
        page.goto(live.url)
        page.locator("#key-dialog[open]").wait_for()
        page.fill("#key", "correct-horse")
        page.keyboard.press("Enter")
        page.locator("#methods .pill").first.wait_for()
        page.close()


def test_copies_and_the_saved_file(visit: Visit, browser: Any, tmp_path: Path) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.ask('it\'s <b>bold</b> $HOME `x` "q"')
    visit.finished()
    copied = {}
    for name in ("link", "curl", "python"):
        page.click(f"#{name}")
        page.locator("#said", has_text="copied").wait_for()
        copied[name] = page.evaluate("navigator.clipboard.readText()")
        page.evaluate("document.getElementById('said').textContent = ''")
    assert copied["link"].startswith(visit.live.url)
    assert "\\$HOME" in copied["curl"]
    assert "\\`x\\`" in copied["curl"]
    compile(copied["python"], "copied", "exec")
    with page.expect_download() as download:
        page.click("#save")
    file = tmp_path / "saved.html"
    download.value.save_as(file)
    saved = browser.new_page(offline=True)
    errors: list[str] = []
    saved.on("pageerror", lambda error: errors.append(str(error)))
    saved.goto(file.as_uri())
    assert saved.locator("article").count() == 3
    assert "<b>bold</b>" in saved.locator("h2").inner_text()
    data = json.loads(saved.locator("#data").text_content())
    assert data[0]["answers"][2]["method"] == "vcd"
    assert errors == []
    saved.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (400, "dark")])
def test_it_fits_and_has_contrast(browser: Any, live: Live, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    visit = Visit(browser, live, viewport=size, color_scheme=scheme)
    visit.ask()
    visit.finished()
    word = visit.answer("vcd").locator(".word").nth(1)
    word.focus()
    page = visit.page
    own, sheet = word.bounding_box(), page.locator("#inspector").bounding_box()
    assert own["y"] + own["height"] <= sheet["y"] or own["x"] + own["width"] <= sheet["x"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    body = page.locator("body")
    paper = body.evaluate("one => getComputedStyle(one).backgroundColor")
    ink = body.evaluate("one => getComputedStyle(one).color")
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
    assert (light[0] < light[1]) == (scheme == "dark")
    assert abs(light[0] - light[1]) > 400
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme
    assert visit.complaints == []
    page.close()


def test_everything_has_a_name(visit: Visit) -> None:
    """Every control says to a screen reader what it is."""
    visit.ask()
    visit.finished()
    nameless = visit.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a")]
        .filter((one) => !(one.ariaLabel || one.title || one.textContent.trim()
            || one.labels?.length || one.getAttribute("aria-labelledby")))
        .map((one) => one.outerHTML)"""
    )
    assert nameless == []


def test_the_api_page(browser: Any, live: Live) -> None:
    page = browser.new_page()
    page.goto(f"{live.url}/docs")
    page.locator("#paths section").nth(5).wait_for()
    assert "/v1/chat/completions" in page.locator("#paths").inner_text()
    assert "tiny@ritual" in page.locator("#list").inner_text()
    page.close()
