"""The page of a diagnosis, and ``diagnosis.json`` beside it.

The verdict first, then the numbers and pictures that decided it.
"""

from pathlib import Path

import pandas as pd

from tokenscope.cost.accounting import collect
from tokenscope.cost.accounting import table as accounting
from tokenscope.cost.carbon import Site
from tokenscope.diagnosis import page, record
from tokenscope.diagnosis.setup import PROBED_IMAGES
from tokenscope.diagnosis.verdict import ALIKE, PREDICTED
from tokenscope.figures.backbone import (
    BackboneFigures,
    gallery,
    last_block,
    overview,
    share_by_block,
)
from tokenscope.jobs.job import job, log
from tokenscope.report.html import picture, render
from tokenscope.stores.receipts import read_receipt
from tokenscope.study.diagnose import name_of
from tokenscope.study.register_names import register_count
from tokenscope.tables import tidy


def main(files, backbones, specs, images_of, study, rules, statistics, folder, site, outputs):
    """Write the page and the tidy table.

    Args:
        files: paths by name, as the rule has them: ``style`` and ``template`` one, else a list.
        backbones: the columns that name each backbone, one or two.
        specs: how each is opened, with the scaling of colours and the ``remark`` of its row.
        images_of: where the images come from: ``path``, ``seed``.
        study: its name. rules, statistics: its sections ``outliers`` and ``statistics``.
        folder: of the results, whose jobs are counted. site: its section ``carbon``, for their CO2.
        outputs: paths for ``page`` (HTML), ``record`` (JSON) and ``table`` (CSV).
    """
    tables = {
        name: pd.concat([tidy.read(f) for f in files[name]]) if files[name] else None
        for name in ("rows", "norms", "registers", "probes", "heads")
    }
    figures = [read_figures(who, place, files, tables) for place, who in enumerate(backbones)]
    images = [tidy.read_table(file) for file in files["images"]]
    pairs = page.paired(*images, backbones[1], statistics) if len(images) > 1 else None
    table = pd.concat([tables["rows"], *([pairs] if pairs is not None else [])])
    tidy.write(table, outputs["table"])
    provenance = tidy.read_table(files["backbones"][0])
    rests = [page.of_backbone(provenance, who).iloc[0] for who in backbones]
    for backbone in figures:
        log.info("%s: %s", backbone.name, backbone.verdict["sentence"])
    cards = [read_receipt(card) for card in files["cards"]]
    searches = [page.search_of(files["neurons"], who) for who in backbones]
    said = record.record(
        study,
        {"dataset": backbones[0]["dataset"], "count": int(rests[0]["images"]), **images_of},
        statistics["confidence"],
        [
            record.backbone(one.name, card, one.verdict, kinds_of(files, who))
            for one, card, who in zip(figures, cards, backbones, strict=True)
        ],
        [one.verdict["evidence"] for one in figures],
        [
            (search, page.unseen(tables["registers"], who), register_count(who["registers"]))
            for search, who in zip(searches, backbones, strict=True)
        ],
    )
    record.write(said, outputs["record"])
    render(
        files["template"], outputs["page"], style=Path(files["style"]).read_text(), study=study,
        rules=rules, criterion={"place": PREDICTED, "alike": ALIKE,
                                "probed": PROBED_IMAGES},
        confidence=statistics["confidence"],
        overview=picture(
            overview(figures, rules),
            " ".join(
                f"{one.name}: {page.headline(one.verdict, statistics['confidence'])}"
                for one in figures
            ), "png", 150,
        ),
        shares=picture(
            share_by_block(figures, rules),
            " ".join(page.shares_in_words(one, rules["times_median"]) for one in figures),
        ),
        norms=picture(
            last_block(figures, rules),
            " ".join(page.last_in_words(one, rules["times_median"]) for one in figures),
        ),
        backbones=[
            {"name": backbone.name, "verdict": backbone.verdict,
             "headline": page.headline(backbone.verdict, statistics["confidence"]),
             "decided": page.decided(backbone, rules), "rules": page.by_rule(backbone),
             "gallery": picture(
                 gallery(backbone, rules), f"Attention and norms of {backbone.name}", "png"),
             "images": backbone.maps.sizes["image"],
             "registers": page.moved(tables["registers"], who, rules),
             "found": page.neurons(search, register_count(who["registers"])),
             "by_kind": one["by_kind"],
             "follows": [advice["sentence"] for advice in one["follows"].values()],
             "classes": page.classes(tables["probes"], who),
             "own_head": page.own_head(tables["heads"], who),
             "remarks": [spec["remark"]] if spec["remark"] else [],
             "rests": page.facts(card, spec, row)}
            for backbone, who, card, spec, row, search, one in zip(
                figures, backbones, cards, specs, rests, searches, said["backbones"],
                strict=True)
        ],
        seen=page.seen_images(images_of, rests[0]),
        pairs=page.as_text(pairs), cost=cost(folder, site, provenance, backbones),
    )  # fmt: skip


def read_figures(who, place, files, tables):
    """One backbone's small files, read."""
    curves, places = (tidy.read_table(files[kind][place]) for kind in ("curves", "places"))
    return BackboneFigures.of(
        name_of(who), files["verdicts"][place], curves, places, files["maps"][place],
        page.of_backbone(tables["norms"], who),
    )  # fmt: skip


def kinds_of(files, who):
    """Rows of the kinds of artifacts of one backbone; None where they were not measured."""
    if not files.get("kinds"):
        return None
    rows = page.of_backbone(pd.concat([tidy.read(file) for file in files["kinds"]]), who)
    return rows if len(rows) else None


def cost(folder, site, provenance, backbones):
    """Extraction by backbone and all jobs together: seconds, images a second, Wh, g CO2."""
    attempts, _ = collect(Path(folder))
    spent = accounting(attempts, Site(**site), run="", expected={})
    lines = []
    for who in backbones:
        seen, own = (
            page.of_backbone(provenance, who).iloc[0],
            page.of_backbone(spent[spent["rule"] == "extract"], who),
        )
        name = f"extraction, {name_of(who)}"
        rate = f"{seen['images'] / seen['seconds']:.3g} images/s on {seen['device']}"
        lines.append((name, own, rate))
    how = sorted({m for c in ("gpu_method", "cpu_method") for m in spent[c].dropna() if m})
    jobs = f"{len(spent)} runs of jobs; energy: {', '.join(how) or 'not measured'}"
    lines.append(("all jobs so far", spent, jobs))
    return [
        (name, f"{rows['seconds'].sum():.0f} s", rate, f"{1000 * rows['kwh'].sum():.3g} Wh",
         f"{1000 * rows['co2_kg'].sum():.3g} g CO2")
        for name, rows, rate in lines
    ]  # fmt: skip


if "snakemake" in globals():
    with job(snakemake.log[0], "diagnosis"):
        p, i = snakemake.params, snakemake.input
        files = {
            name: value if name in ("style", "template") else [value] if isinstance(value, str)
            else list(value)
            for name, value in i.items()
        }  # fmt: skip
        main(
            files=files, backbones=p.backbones, study=p.study, rules=p.outliers,
            statistics=p.statistics, folder=p.folder, site=p.site, specs=p.specs,
            images_of=p.images,
            outputs=dict(snakemake.output.items()),
        )  # fmt: skip
