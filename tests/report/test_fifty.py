"""Fifty backbones on one page: all in one look, each with a section, small enough to be sent."""

import re

import fifty as study_of_fifty

COLUMNS = "rows => rows.map(row => row.querySelectorAll('td').length)"


def test_a_page_of_fifty_backbones_is_below_30_mb_and_keeps_what_is_important(fifty):
    html = fifty.read_text()
    assert fifty.stat().st_size < 30e6
    names = study_of_fifty.keys()
    families = len({name.partition("/")[0] for name in names})
    figure = '<figure id="figure-imagenet-val-{}"'
    assert (
        figure.format("fig3_ratio") in html
        and html.count(figure.format("attention-")[:-1]) == families
    )
    # Of the figures of single backbones those are linked that have no room.
    drawn = html.count(figure.format("blocks-")[:-1])
    assert 0 < drawn < len(names)
    assert all(f"../figures/imagenet-val/blocks/{name}.png" in html for name in names)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert "data:image/webp" in html
    # What shows all backbones of one size is drawn once; their sections lead there.
    boxes = "figure-boxes-discovery-" + names[0].rpartition("/")[0].replace("/", "-")
    of_size = sum(name.rpartition("/")[0] == names[0].rpartition("/")[0] for name in names)
    assert html.count(f'id="{boxes}"') == 1 and html.count(f'<a href="#{boxes}">') == of_size > 0


def test_all_of_them_in_one_look_and_each_by_itself_and_found_by_words(window, fifty):
    page, names = window(fifty, width=1300), study_of_fifty.keys()
    assert page.locator("#matrix thead th").count() == 1 + len(names)
    rows = page.locator("#matrix tbody tr:not(.block)")
    assert set(rows.evaluate_all(COLUMNS)) == {len(names)}
    kinds = page.locator("#matrix tr", has_text="High norm:").locator("td.kind.yes")
    assert kinds.count() == len(names) // 3
    assert kinds.first.get_attribute("title") == "yes: 2.50 % [2.25, 2.75]"
    assert page.locator("details.backbone").count() == len(names)
    page.locator("#matrix thead a").nth(7).click()
    own = page.locator(f"[data-backbone='{names[7]}']")
    assert own.get_attribute("open") is not None and own.get_attribute("id") in page.url
    text = own.inner_text()
    assert "DINOv2-B, 4 registers" in text and "Kinds of artifacts" in text
    assert "Statements" in text and "In the tables of the main paper" in text
    own.locator("a[data-rows=claim1]").click()
    shown = page.locator("#rows-claim1 tbody tr:not([hidden])")
    assert set(shown.evaluate_all("rows => rows.map(r => r.cells[0].textContent)")) == {names[7]}

    for words, first in (
        ("openclip huge", "OpenCLIP-H"),
        ("table 3", "Table 3"),
        ("zzz", "Nothing"),
    ):
        page.locator("#find").fill(words)
        assert first in page.locator("#found li").first.inner_text()
    page.locator("#find").fill("dinov2/giant/r4")
    page.keyboard.press("Enter")
    assert page.locator("[data-backbone='dinov2/giant/r4'][open]").count() == 1

    page.locator("#find").fill(
        "claim 2"
    )  # "is Claim 2 right?": its statements come with their verdicts
    assert page.locator("#found li").first.inner_text().startswith("section Claim 2")
    page.keyboard.press("Escape")

    page.evaluate("document.querySelectorAll('details.raw').forEach(d => { d.open = true; })")
    wide = "tables => tables.filter(t => t.scrollWidth > t.parentElement.clientWidth + 1).length"
    assert page.locator("table.tidy").evaluate_all(wide) == 0
    off = "links => links.filter(a => a.getBoundingClientRect().right > innerWidth).length"
    assert page.locator("nav a").evaluate_all(off) == 0
    for width in (1300, 390):  # nothing is cut on a laptop or a phone
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_navigation_and_what_is_found_lie_over_all_that_sticks(window, fifty):
    page = window(fifty, width=1300)
    on_top = """box => { const { x, y, width, height } = box.getBoundingClientRect();
        return [0.02, 0.5, 0.9].every(
            part => box.contains(document.elementFromPoint(x + part * width, y + height / 2))); }"""
    assert page.locator("nav").evaluate("nav => nav.offsetHeight") < 70  # two lines
    page.locator("#find").fill("figure")
    for height in range(200, 1000, 100):
        page.evaluate(f"scrollTo(0, {height})")
        for box in (page.locator("nav a").last, page.locator("#found button").first):
            assert box.evaluate(on_top), height
    page.evaluate("document.getElementById('claim4').scrollIntoView()")
    above = "box => box.getBoundingClientRect()"
    nav, section = page.locator("nav").evaluate(above), page.locator("#claim4").evaluate(above)
    assert 8 < section["top"] - nav["bottom"] < 20
