"""The images of the page in README and docs: a real server, the shipped model, a headless Chromium.

    python tools/page_image.py                # docs/page.webp
    python tools/page_image.py --all FOLDER   # light and dark, wide and narrow, for looking at

Needs ``pip install -e ".[dev]"`` and Debian's ``chromium``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright

PORT = 8766
URL = f"http://127.0.0.1:{PORT}"
ASKED = "#q=Describe+this+image+in+detail.&m=regular;ritual;vcd&img=scene-2"
"""A drawn scene, so that what the answers make up is marked."""

DOCS = Path(__file__).parents[1] / "docs"
LOOKS = [
    ("light-1280", 1280, 900, "light"),
    ("dark-1280", 1280, 900, "dark"),
    ("light-400", 400, 900, "light"),
    ("dark-400", 400, 900, "dark"),
]


def started() -> subprocess.Popen[bytes]:
    """A server with the shipped model, ready."""
    command = [sys.executable, "-m", "secondsight", "serve", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(240):
        time.sleep(0.5)
        try:
            if httpx.get(f"{URL}/ready", trust_env=False).status_code == 200:
                return server
        except httpx.HTTPError:
            pass
    server.kill()
    raise RuntimeError("the server is not ready")


def shot(browser: Any, width: int, height: int, scheme: str) -> Image.Image:
    """The page after an answer, with the pointer on an object that is not in the image."""
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.25
    )
    page.goto(f"{URL}/{ASKED}")
    page.locator("#images img").wait_for()
    page.click("#send")
    page.locator(".next").wait_for(timeout=60_000)
    page.locator("article.answer .word.invented").first.click()
    page.locator("#attention figure canvas").first.wait_for(timeout=60_000)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=width < 500)))
    page.close()
    return picture.convert("RGB")


def main() -> None:
    """Make them."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--all", type=Path)
    folder = arguments.parse_args().all
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    server = started()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            if folder is None:
                shot(browser, 1600, 1000, "light").save(DOCS / "page.webp", quality=82, method=6)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                for name, *look in LOOKS:
                    shot(browser, *look).save(folder / f"{name}.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
