"""Pictures of the page that `mrigen serve` shows, as a person sees it who drew all pairs and compares two.

    mrigen serve
    python docs/benchmarks/serve_page.py http://127.0.0.1:8000/ docs

Writes `serve-wide.webp` (light) and `serve-narrow.webp` (dark, 400 pixels wide), by Chromium.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

PAIRS = {"A": "Glioblastoma:FLAIR", "B": "Healthy:FLAIR"}
SHOTS: dict[str, tuple[int, Literal["light", "dark"]]] = {"wide": (1280, "light"), "narrow": (400, "dark")}
HEIGHT_MM, DRAWN_S = "12", 600


def shot(browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]) -> Image.Image:
    """The whole page."""
    page: Any = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(1000 * DRAWN_S)
    page.goto(url, wait_until="networkidle")
    page.fill("#slice_mm", HEIGHT_MM)
    page.locator("#all").click()
    page.locator("#progress").wait_for()
    page.locator("#progress").wait_for(state="hidden")
    for pane, cell in PAIRS.items():
        page.locator("#into_B").set_checked(pane == "B")
        page.locator(f"[data-cell='{cell}']").click()
        page.get_by_text(f"{pane}: synthetic {cell.split(':')[0]} in").wait_for()
        page.evaluate("showing")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    page.close()
    return taken


def main(url: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (width, scheme) in SHOTS.items():
            shot(browser, url, width, scheme).save(folder / f"serve-{name}.webp", quality=75, method=6)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
