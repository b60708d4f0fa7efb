"""The report as a reader opens it: in a browser, from disk, without a network."""

import platform
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pages
import pandas as pd
import pytest
from report import report

from tokenscope.norms.exceedance import STEPS, multiple, tail
from tokenscope.report import pictures
from tokenscope.tables import paper_tables, tidy
from tokenscope.tables.formatting import as_text
from tokenscope.tables.published import Published
from tokenscope.verdicts.answers import INSTRUMENT


def test_nothing_is_fetched_and_nothing_runs_from_names(opened):
    assert opened.evaluate("window.hacked") is None
    assert opened.title().startswith(pages.EVIL)
    skipped = opened.locator("#provenance").inner_text()
    assert f"{pages.EVIL}.png" in skipped and "damaged <b>file</b>" in skipped
    assert f"{pages.EVIL}.png" in opened.locator("#ex-panel-left").inner_text()


def test_every_number_is_that_of_its_table(opened, made):
    table = pd.read_csv(made["root"] / "tables/claim1.csv")
    opened.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    cells = opened.locator("table[data-table=claim1] tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(c => [c.title || c.textContent,"
        " c.dataset.value, c.dataset.high]))"
    )
    shown = {tuple(c[0] for c in row[:4]): row[4:] for row in cells}
    assert len(shown) == len(table)
    for row in table.fillna({"unit": ""}).itertuples():
        value, interval, *_, n = shown[
            (f"{row.family}/{row.size}/{row.registers}", row.dataset, row.group, row.metric)
        ]
        assert value[0] == as_text(row.value, row.unit)
        for cell, number in (
            (value[1], row.value),
            (interval[1], row.low),
            (interval[2], row.high),
        ):
            assert cell == ("" if np.isnan(number) else f"{number:.7g}")
        assert n[0] == str(row.n) + " tokens" * row.unit.startswith("not measured")


def test_slider_gives_the_share_counted_from_the_norms(opened, made):
    values = made["norms"][pages.KEYS[0]]
    assert opened.locator("#ex-left").input_value() == pages.KEYS[0]
    assert opened.locator("#ex-right").input_value() == pages.KEYS[1]
    for block, rung in ((3, STEPS), (2, STEPS + 20), (1, -5), (3, 0)):
        for name, value in (("block", block), ("threshold", rung)):
            opened.locator(f"#ex-{name}").fill(str(value))
        own = values[:, block - 1]
        cut = multiple(rung, pages.TIMES) * np.median(own)
        share = 100 * (own > cut).mean()
        opened.wait_for_function(
            "share => Math.abs(document.querySelector('#ex-panel-left .share').dataset.share"
            " - share) < 1e-9", arg=share, timeout=5000,
        )  # fmt: skip
        said = opened.locator("#ex-panel-left .share").inner_text()
        assert float(said.split()[0]) == float(f"{share:.4g}")
        holding = (own > cut).any(1).sum()
        assert said.endswith(f"% of tokens above, in {holding} of 40 images")
        marked = opened.locator("#ex-panel-left .gallery path").evaluate_all(
            "paths => paths.map(path => path.getAttribute('d').split('z').length - 1)"
        )
        assert sorted(marked) == sorted((own[:2] > cut).sum(1).tolist())
    # At the outlier rule it is the number of the table of claim 1.
    opened.locator("#ex-reset").click()
    table = pd.read_csv(made["root"] / "tables/claim1.csv")
    rule = table[(table["metric"] == "share_norm_over_3x_median")]["value"].iloc[0]
    shown = opened.locator("#ex-panel-left .share").get_attribute("data-share")
    assert float(shown) == pytest.approx(rule, rel=1e-6)


def test_the_explorer_keeps_its_state_in_the_address(window, made):
    page = window(made["page"])
    groups = page.locator("#ex-left optgroup").evaluate_all("all => all.map(one => one.label)")
    assert groups == ["embedded"]
    page.locator("#ex-left").select_option(pages.KEYS[1])
    page.locator("#ex-block").fill("2")
    page.locator("#ex-p98").click()
    page.locator("#ex-linear").check()
    page.wait_for_function("location.hash.includes('linear')")
    assert page.locator("#ex-p98").get_attribute("aria-pressed") == "true"
    assert page.locator("#ex-block").get_attribute("aria-valuetext") == "block 2 of 3"
    said = page.locator("#ex-panel-left").inner_text()
    assert (
        abs(float(said.split(" %")[0].split()[-1]) - 2) < 0.5
    )  # percent above the 98th percentile
    again = window(made["page"], fragment="#" + page.url.partition("#")[2])
    assert again.locator("#ex-left").input_value() == pages.KEYS[1]
    assert again.locator("#ex-linear").is_checked()
    assert again.locator("#ex-panel-left").inner_text() == said


def test_tables_sort_and_filter(opened):
    opened.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    head = opened.locator("table[data-table=claim1] thead th").nth(4).locator("button")
    read = "rows => rows.filter(r => !r.hidden).map(r => r.cells[4].dataset.value)"
    rows = opened.locator("table[data-table=claim1] tbody tr")
    for sign in (1, -1):
        head.click()
        values = [float(v) for v in rows.evaluate_all(read) if v]
        assert values == sorted(values, reverse=sign < 0) and len(values) == 6
        assert rows.evaluate_all(read)[-1] == ""  # undefined ones stay last
    opened.locator("#claim1 .filter input").fill("r4 median")
    assert len(rows.evaluate_all(read)) == 2
    assert not opened.locator("#claim1 .none").is_visible()
    opened.locator("#claim1 .filter input").fill("zzz")
    assert opened.locator("#claim1 .none").is_visible()


def test_pictures_say_what_they_are(opened):
    silent = opened.locator("img").evaluate_all(
        "images => images.filter(i => !i.alt && !i.closest('dialog')).length"
    )
    assert not silent
    drawings = opened.locator("#explorer svg[role=img]")
    assert drawings.count() == 6
    assert all("of" in label for label in drawings.evaluate_all("x => x.map(n => n.ariaLabel)"))
    opened.locator("figure .open").first.click()
    assert opened.locator("#zoom[open] img").get_attribute("alt")


def test_none_of_the_tokens_is_said_with_its_images(opened):
    share = opened.locator("#ex-panel-right .share").inner_text()
    assert share == "0 of 640 tokens, 0 of 40 images (< 7.2 % of images)"  # 1 - 0.05 ** (1 / 40)
    row = opened.locator("table[data-table=claim1] tbody tr", has_text="embedded/tiny/r4-scratch")
    assert "in 0 of 40 images" in row.first.text_content()


def test_tables_are_named_and_pictures_tell_what_was_found(opened, made):
    unnamed = "tables => tables.filter(t => !t.caption || !t.caption.textContent.trim()).length"
    assert opened.locator("table").count() > 5
    assert opened.locator("table").evaluate_all(unnamed) == 0
    alts = opened.locator("figure img").evaluate_all("images => images.map(i => i.alt)")
    assert alts
    # Of the backbone that it shows: the other one that was measured has no part in it.
    said = f"Tokens that are outliers, in the block with most of them: none in {pages.KEYS[1]}."
    assert set(alts) == {
        "Norms. File scenes/fig4_norms.", f"By block. File scenes/norms_by_block. {said}"
    }  # fmt: skip
    shown = pictures.figure("scenes/fig4_norms", "Norms.", made["root"] / "figures", None)
    assert shown["alt"] == "Norms. File scenes/fig4_norms."


def test_where_there_is_nothing_to_draw_the_page_has_the_sentence(made):
    html = made["page"].read_text()
    assert '<p class="fine">Sinks. Nothing to draw: no token is one.</p>' in html
    assert "scenes/empty" not in html  # neither a picture nor its files


def test_what_is_of_nobody_or_of_others_is_said_so(made):
    html = made["page"].read_text()
    said = "4 items; shown of its own models and images 1, of others 2, not shown 1"
    assert f"<summary>reassessment-2025: {said}</summary>" in html
    kinds = html.partition("<h3>Backbones by their kind</h3>")[2].partition("</section>")[0]
    assert re.findall(r"<td>(.*?)</td>", kinds)[:4] == ["small", "share of tokens", "2", "1.5"]
    assert "Left out are 2 lines of no backbone in this study: large." in kinds
    assert "large</td>" not in kinds


def test_themes_and_phone(opened):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = opened.evaluate(colour)
    opened.locator("#theme").click()
    assert opened.evaluate(colour) != light
    opened.set_viewport_size({"width": 360, "height": 700})
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.emulate_media(media="print")
    assert not opened.locator("nav").is_visible()


def test_on_paper_it_is_light_and_every_chart_and_column_keeps_its_own_place(opened):
    bar = opened.locator("#explorer .chart path[fill*=low]").first
    fill = "bar => getComputedStyle(bar).fill"
    opened.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert bar.evaluate(fill) == "rgb(86, 180, 233)"
    opened.emulate_media(media="print")
    assert bar.evaluate(fill) == "rgb(0, 114, 178)"
    opened.set_viewport_size({"width": 700, "height": 1000})  # the charts were drawn for 1200
    assert (
        opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    within = opened.locator("#explorer .chart").evaluate_all(
        "charts => charts.map(c => c.querySelector('svg').getBoundingClientRect().right"
        " - c.getBoundingClientRect().right)"
    )
    assert len(within) == 2 and max(within) <= 0.5
    # The name of a column is text of its cell: buttons are not drawn in repeated heads.
    heads = opened.locator("table[data-table=claim1] th").evaluate_all(
        "heads => heads.map(h => [h.innerText, getComputedStyle(h, '::before').content])"
    )
    assert heads[3] == ["", '"quantity"'] and all(content != '""' for _, content in heads)
    # The heads of rows keep their own words, and those of the first table have room for them.
    before = opened.locator("table.stack tbody th").evaluate_all(
        "heads => heads.map(h => getComputedStyle(h, '::before').content)"
    )
    assert before and set(before) == {"none"}


def test_on_paper_are_the_statements_that_were_asked_and_every_definition_once(opened):
    opened.emulate_media(media="print")
    unfolded = "all => all.filter(one => one.open).map(one => one.dataset.criterion)"
    criteria = opened.locator("details.criterion")
    assert criteria.evaluate_all(unfolded) == []
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert criteria.evaluate_all(unfolded) == ["claim4-position"]  # cannot tell; others not run
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert criteria.evaluate_all(unfolded) == []
    notes = opened.locator("main details.fine p").all_text_contents()
    paper = opened.locator(".paper")
    assert paper.inner_text().count("Norms are") == 1 and len(notes) > len(set(notes)) > 2
    assert paper.locator("h3").count() == len(set(notes))
    opened.emulate_media(media="screen")
    assert not paper.is_visible()


def test_partial_results_are_called_partial(made):
    html = made["page"].read_text()
    text = re.sub(r"\s+", " ", html)
    assert "<b>Partial results:</b> 5 of 7 planned entries" in text
    assert "No phantom was measured." in text
    assert "2 of 3 are there; missing: dinov2/small/r0 on scenes" in text
    assert "Not drawn yet: <code>scenes/none</code>" in text
    assert '<a href="../figures/scenes/large.svg">Too large.</a>' in text
    verdict = dict(re.findall(r'<tr data-criterion="([^"]+)" data-verdict="([^"]+)"', html))
    # What was trained here for minutes says nothing about the papers; DINOv2-S is not there yet.
    assert verdict["claim1-artifacts"] == "not run"
    assert verdict["claim1-registers"] == verdict["claim2-onset"] == "does not apply"
    assert "trained here on 10,000 images" in html
    table = pd.read_csv(made["root"] / "tables/verdicts.csv", keep_default_na=False)
    lines = table[table["backbone"] == ""].set_index(["statement", "scope", "source"])["answer"]
    assert lines["claim4-position", "as published", "darcet-2024"] == "not run"
    assert lines["claim4-class", "generalises", ""] == "does not apply"  # no such row of it


def test_table_1_says_that_positions_are_confounded(made):
    html = made["page"].read_text()
    section = html[html.index('<section id="claim4">') : html.index('<section id="claim5">')]
    assert "<h3>Table 1: position</h3>" in section and "<h3>Table 2" not in section
    full = re.sub(r"<a [^>]*>|</a>", "", section[section.index("<h3>Table 1: position") :])
    cells = re.findall(r"<td>([^<]*)</td>", full)
    assert cells[:5] == [
        pages.PROBED, "top-1 (%) ↑", "40.00 [39.00, 41.00]", "20.00 [19.00, 21.00]",
        "-20.00 [-21.00, -19.00]",
    ]  # fmt: skip
    assert cells[6] == "commonest place: outlier 19.00"
    assert cells[8].startswith("45.48 (reassessment-2025") and " / 7.60 (reassess" in cells[8]
    assert cells[9] == "confounded: outlier tokens crowd in few places"
    assert 'data-criterion="claim4-position" data-verdict="cannot tell"' in html
    assert "places of its outliers can be guessed without looking" in section


def test_tables_of_the_paper_have_the_digits_of_latex_and_of_the_csv(made):
    """Page, LaTeX and table are equal to the printed digit."""
    html = made["page"].read_text()
    rows = tidy.read(made["root"] / "tables/claim4.csv")
    table = html.partition('data-printed="table1"')[2].partition("</table>")[0]
    body = table.partition("<tbody>")[2]
    shown = {
        key: [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", line)]
        for key, line in re.findall(r'<tr data-model="([^"]+)">(.*?)</tr>', body, re.S)
    }
    tex = paper_tables.latex("table1", rows, Published("config/published.csv").rows)
    lines = tex.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    printed = [
        [re.sub(r"\\\w+\{?|[{}$]", "", cell).strip() for cell in line.split(" & ")[1:]]
        for line in (line.removesuffix(r" \\") for line in lines)
    ]
    assert [[cell.replace("–", "--") for cell in line] for line in shown.values()] == printed
    of = rows.set_index(["group", "metric"])
    theirs, ours = shown[pages.PROBED][:2]
    row = of.loc["normal", "position_top1"]
    assert theirs == "45.48"
    assert ours == f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert 'id="paper-table1"' in html and "Bold: best estimate of a line" in html


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_tables_compile(made, tmp_path):
    rows = tidy.read(made["root"] / "tables/claim4.csv")
    published = Published("config/published.csv").rows
    tables = [paper_tables.latex(name, rows, published) for name in ("table1", "table3")]
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "all.tex").write_text("\n".join([head, *tables, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert made.returncode == 0, made.stdout[-2000:]


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="no pdftotext")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_printed_each_panel_of_the_explorer_holds_its_own_numbers(window, made, tmp_path, theme):
    page = window(made["page"], theme=theme)
    said = [page.locator(f"#ex-panel-{side}").inner_text() for side in ("left", "right")]
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    found = {}
    for number in range(1, 30):
        halves = []
        for x in (0, 297):  # A4 is 595 points wide
            crop = ["-f", str(number), "-l", str(number), "-x", str(x), "-y", "0", "-W", "297"]
            command = ["pdftotext", *crop, "-H", "842", str(tmp_path / "page.pdf"), "-"]
            text = subprocess.run(command, capture_output=True, text=True).stdout
            halves.append(text.partition("norm / median")[0].partition("block 2 of 3")[2])
        if all(halves):
            found = dict(zip(("left", "right"), halves, strict=True))
            break
    assert found, "no page with both panels"
    for text, own in zip(found.values(), said, strict=True):
        numbers = set(re.findall(r"[\d.,]*\d", text))
        assert numbers and numbers <= set(re.findall(r"[\d.,]*\d", own)), numbers


def test_tables_and_figures_say_who_measured_and_not_who_draws(made):
    html = made["page"].read_text()
    software = "config demo.yaml sha256:1, on node7, with torch 2.0; weights of 1 backbone."
    said = f"Measured by commit abc and abd, {software}"
    claim1, claim4 = (
        html.partition(f'<section id="{name}"')[2].partition("</section>")[0]
        for name in ("claim1", "claim4")
    )
    assert f'<span class="rests">{said}</span>' in claim1 and f"Figures: {said}" in claim1
    assert f'<span class="rests">Measured by commit bcd, {software}</span>' in claim4
    all_of_it = html.partition('id="measured">')[2].partition("<")[0]
    assert all_of_it == f"Measured by commit abc and abd and bcd, {software}"
    provenance = html.partition('<section id="provenance"')[2].partition("</section>")[0]
    assert not re.search(rf"matplotlib|{re.escape(platform.node())}", provenance)


def test_who_measured_is_not_found_by_words(opened):
    opened.locator("#find").fill("measured by commit abc")
    assert opened.locator("#found button").count() == 1  # the sentence of the provenance


def test_sections_begin_with_their_answer_and_facts_are_whole(made):
    html = made["page"].read_text()
    answers = re.findall(r'<p class="answer"><b>(.*?)</b></p>', html)
    assert len(answers) > 4
    assert all(" statement" in answer for answer in answers)
    assert '<a href="#items">Items of the papers</a>' in html
    assert '<a href="#accounting">Cost</a>' in html and "<h2>What it took</h2>" in html
    rows = re.findall(r'<p class="fine">Every number of it: (.*?)</p>', html, re.S)
    for own in rows:  # each place is named once, or else with its table
        places = re.findall(r"rows? in (.*?)</a>", own)
        assert len(set(places)) == len(places) > 0


def test_other_pages_are_linked_where_they_are(made):
    html = made["page"].read_text()
    assert html.count('<a href="../diagnosis.html">') == 1
    assert report._page(made["root"], "none.html") == report._page(made["root"], "") == ""


def test_ladder_counts_as_the_outlier_rule_does():
    norms = np.random.default_rng(1).lognormal(0, 0.5, 9000).astype(np.float32)
    ladder = tail(norms, 3)
    assert ladder["above"][0] == norms.size and ladder["above"][-1] == 0
    at_rule = ladder["above"][STEPS - ladder["first"]]
    assert at_rule == (norms > 3 * np.median(norms)).sum() > 0


@pytest.mark.parametrize(
    "answer, trusted",
    [("supported", "yes"), ("contradicted", "no"), ("cannot tell", "undecided"),
     ("not run", "not run")],
)  # fmt: skip
def test_the_phantoms_decide_what_the_page_says_first(answer, trusted):
    line = SimpleNamespace(answer=answer, scope=INSTRUMENT)
    other = SimpleNamespace(answer="contradicted", scope="elsewhere")
    kinds = SimpleNamespace(answer="cannot tell", scope=INSTRUMENT)  # from few images: no error
    said = {"controls": [line], "controls-kinds": [kinds], "claim1": [other]}
    assert report._trusted(said) == trusted
    kinds.answer = "contradicted"
    assert report._trusted(said) == "no"
