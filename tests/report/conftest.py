"""The report as a reader opens it: in a browser, from disk, without a network."""

import os
import shutil

import fifty as study_of_fifty
import pages
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A small report, and what it was made of."""
    return pages.make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def fifty(tmp_path_factory):
    """A report on 51 backbones, with tables made up."""
    return study_of_fifty.make(tmp_path_factory.mktemp("fifty"))


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; where there is none, the tests that need it are skipped."""
    program = os.environ.get("TOKENSCOPE_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), ""
    )
    if not program:
        pytest.skip("no Chromium: apt-get install chromium, or set TOKENSCOPE_BROWSER to a browser")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def window(browser):
    """Opens a page in a fresh window without a network; what goes wrong in it fails the test."""
    contexts, trouble = [], []
    local = ("data:", "file:", "blob:")

    def opened(path, width=1200, theme="light", fragment=""):
        size = {"width": width, "height": 800}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme, offline=True))
        page = contexts[-1].new_page()
        page.on(
            "console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else 0
        )
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda r: 0 if r.url.startswith(local) else trouble.append(r.url))
        page.goto(f"file://{path}{fragment}")
        page.wait_for_selector("#explorer[data-ready=yes]")
        return page

    yield opened
    assert not trouble
    for context in contexts:
        context.close()


@pytest.fixture
def opened(window, made):
    """The small report in a fresh window."""
    return window(made["page"])
