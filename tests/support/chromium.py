"""A real browser that pages are opened in: Chromium without a window, steered by Playwright."""

import contextlib

import pytest
from browser import ABSENT, BROWSER, FLAGS

__all__ = ["ABSENT", "BROWSER", "NARROW", "WIDE", "shown", "started"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}


@contextlib.contextmanager
def started():
    """The browser, as Playwright has it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=BROWSER, args=[flag for flag in FLAGS if flag != "--headless"]
        )
        try:
            yield running
        finally:
            running.close()


@contextlib.contextmanager
def shown(running, path, viewport=WIDE, **options):
    """The page of a file; afterwards its console must have stayed empty, and nothing else was asked for.

    Args:
      running: what `started` gives.
      path: that of the file.
      viewport: its width and height.
      options: those of Playwright's `new_context`, such as color_scheme.
    """
    context = running.new_context(viewport=viewport, **options)
    said, asked = [], []
    page = context.new_page()
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(path.as_uri())
        yield page
        assert said == []
        assert {url.partition("#")[0] for url in asked} == {path.as_uri()}
    finally:
        context.close()
