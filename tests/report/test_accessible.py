"""The page for everybody: words and no names of programs, contrast, labels, order, a checker."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from projects import ROOT

from tokenscope.report.texts import linked, references, shown

NAME = re.compile(r"\w_\w")  # as programs name things
VOID = {"meta", "link", "img", "input", "br", "hr", "use", "path", "image"}
# Text on ground, and the least contrast that WCAG 2 asks of it: 4.5 of text, 3 of edges.
PAIRS = [("ink", "page", 4.5), ("soft", "page", 4.5), ("soft", "card", 4.5), ("ink", "card", 4.5),
         ("accent", "page", 4.5), ("accent", "card", 4.5), ("kind", "kind-bg", 4.5),
         *((name, f"{name}-bg", 4.5) for name in ("good", "bad", "unsure", "none")),
         ("edge", "page", 3), ("low", "page", 3), ("high", "page", 3)]  # fmt: skip


class Page(HTMLParser):
    """What a reader meets: text outside of code, headings, tables, pictures and controls."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.text, self.headings, self.faults = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        if tag == "html" and not own.get("lang"):
            self.faults.append("no language")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img" and not own.get("alt") and "dialog" not in self.open:
            self.faults.append("a picture without a text")
        if tag == "th" and not own.get("scope"):
            self.faults.append("a head of a table without its scope")
        if tag in ("input", "select") and "label" not in self.open and not own.get("aria-label"):
            self.faults.append(f"a control without a label: {own}")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.caption = False
        if tag == "caption":
            self.caption = True

    def handle_endtag(self, tag):
        if tag == "table" and not self.caption:
            self.faults.append("a table without a caption")
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style", "code", "pre", "title"} & set(self.open):
            self.text.append(data)


@pytest.fixture(scope="module")
def read(made, fifty):
    return [Page(made["page"].read_text()), Page(fifty.read_text())]


def test_no_name_of_a_program_is_before_a_readers_eyes(read):
    for page in read:
        assert not sorted({text.strip() for text in page.text if NAME.search(text)})


def test_nothing_is_said_to_be_sure(read):
    assert not [text for page in read for text in page.text if "surely" in text]


def test_names_are_said_in_words_and_what_one_types_is_code():
    text = "no share_norm_over_3x_median of it, see tables/claim1_x.csv, fb_in1k (darcet-2024)"
    said = str(shown(text, references()))
    assert "no tokens over 3 x median of it" in said
    assert "<code>tables/claim1_x.csv</code>" in said and "<code>fb_in1k</code>" in said
    assert '<a class="ref" href="#ref-darcet-2024"' in said


def test_every_source_is_in_the_list_of_references():
    known = {one.key for one in references()}
    config = ROOT / "config"
    cited = {
        match[1]
        for name in ("published.csv", "sources.csv")
        for match in re.finditer(r"^([a-z0-9-]+),", (config / name).read_text(), re.M)
    } - {"source"}
    cited |= set(re.findall(r"paper: ([a-z0-9-]+),", (config / "verdicts.yaml").read_text()))
    cited |= set(re.findall(r"^([a-z0-9-]+):$", (config / "papers.yaml").read_text(), re.M))
    for sources in re.findall(r"sources: \[([^\]]+)\]", (config / "report.yaml").read_text()):
        cited |= set(sources.split(", "))
    assert cited <= known and len(cited) > 10
    assert str(linked("<b> xdarcet-2024", references())) == "&lt;b&gt; xdarcet-2024"
    assert all(one.link.startswith("https://") and one.title and one.year for one in references())


def test_tables_pictures_and_controls_have_names_and_headings_their_order(read):
    for page in read:
        assert page.faults == []
        assert page.headings.count(1) == 1 and page.headings[0] == 1
        steps = zip(page.headings, page.headings[1:], strict=False)
        assert all(after <= before + 1 for before, after in steps)


def luminance(colour: str) -> float:
    colour = colour.lstrip("#")
    digits = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(theme):
    style = Path("workflow_scripts/templates/style.css").read_text()
    found = re.search(rf"{{ color-scheme: {theme};(.*?)}}", style, re.S)[1]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", found))
    for text, ground, least in PAIRS:
        light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= least, (text, ground)


@pytest.fixture(scope="module")
def axe():
    """The script of the checker axe-core, which is not part of the project."""
    places = [os.environ.get("TOKENSCOPE_AXE", ""), "node_modules/axe-core/axe.min.js"]
    script = next((Path(place) for place in places if place and Path(place).exists()), None)
    if script is None:
        pytest.skip("no axe-core: npm install axe-core, or set TOKENSCOPE_AXE to its axe.min.js")
    return script.read_text()


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_checker_finds_nothing_serious(window, made, axe, width, theme):
    page = window(made["page"], width=width, theme=theme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious]
