"""The page of a diagnosis: the verdict first, then the numbers and pictures that decided it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from tokenscope import plots, tidy
from tokenscope.accounting import collect
from tokenscope.accounting import table as accounting
from tokenscope.bootstrap import Bootstrap
from tokenscope.carbon import Site
from tokenscope.diagnosis import ALIKE, MIN_IMAGES, MIN_TOKENS, PREDICTED
from tokenscope.errors import StudyError
from tokenscope.front import PROBED_IMAGES, name_of
from tokenscope.html import picture, render
from tokenscope.huggingface import some
from tokenscope.jobs import job, log
from tokenscope.kinds import base
from tokenscope.portrait import (
    Sitter,
    gallery,
    last_block,
    overview,
    share_by_block,
)
from tokenscope.stores import read_receipt

WHO = ["family", "size", "registers"]
PAIRED = {
    "share_last_block": ("tokens over the cutoff, last block", "%"),
    "share_peak_block": ("tokens over the cutoff, block with most", "%"),
    "norm_max_over_median": ("largest norm of an image / its median, last block", ""),
    "attention_share_of_top_2_percent": ("CLS attention on its top 2 % of patches", "%"),
}
MOVED = {
    "share_norm_over_{}x_median_of_base": "tokens over the cutoff (block with most before)",
    "norm_max_over_median": "largest norm of an image / its median, last block",
    "attention_share_where_base_has_outliers": "CLS attention where outliers were",
    "top1": "top-1 of its own head",
}


def main(files, backbones, study, rules, statistics, folder, site, outputs):
    """Write the page, the tidy table and the overview picture.

    ``files`` by name as the rule has them, ``backbones`` the columns that name each.
    """
    tables = {
        name: pd.concat([tidy.read(f) for f in files[name]]) if files[name] else None
        for name in ("rows", "norms", "registers", "probes")
    }
    sitters = [sitter(who, place, files, tables) for place, who in enumerate(backbones)]
    images = [pd.read_csv(file) for file in files["images"]]
    pairs = paired(*images, backbones[1], statistics) if len(images) > 1 else None
    table = pd.concat([tables["rows"], *([pairs] if pairs is not None else [])])
    tidy.write(table, outputs["table"])
    rests = pd.read_csv(files["backbones"][0])
    plots.save(overview(sitters, rules), [outputs["overview"]])
    for one in sitters:
        log.info("%s: %s", one.name, one.verdict["sentence"])
    render(
        files["template"], outputs["page"], style=Path(files["style"]).read_text(), study=study,
        rules=rules, criterion={"images": MIN_IMAGES, "place": PREDICTED, "alike": ALIKE,
                                "probed": PROBED_IMAGES},
        confidence=statistics["confidence"],
        overview=picture(overview(sitters, rules), "maps and norms at a glance", "png", 150),
        shares=picture(share_by_block(sitters, rules), "share of outlier tokens by block"),
        norms=picture(last_block(sitters, rules), "norms after the last block"),
        backbones=[
            {"name": one.name, "verdict": one.verdict, "decided": decided(one, rules),
             "rules": by_rule(one), "gallery": picture(gallery(one, rules), "maps", "png"),
             "images": one.maps.sizes["image"],
             "registers": moved(tables["registers"], who, rules),
             "found": found_neurons(files["neurons"], who),
             "classes": classes(tables["probes"], who),
             "rests": rest(rests, who)}
            for one, who in zip(sitters, backbones, strict=True)
        ],
        pairs=spoken_pairs(pairs), cost=cost(folder, site, rests, backbones),
    )  # fmt: skip


def sitter(who, place, files, tables):
    """One backbone's small files, read."""
    with open(files["verdicts"][place]) as handle:
        verdict = json.load(handle)
    rows = mine(tables["norms"], who)
    curves, places = (pd.read_csv(files[kind][place]) for kind in ("curves", "places"))
    maps = xr.open_dataset(files["maps"][place], engine="scipy").load()
    return Sitter(name_of(who), verdict, rows, curves, places, maps)


def mine(table, who):
    """The rows of one backbone."""
    mask = np.logical_and.reduce([table[column] == who[column] for column in WHO])
    return table[mask]


def interval(row, unit=""):
    """Value and interval of a tidy row, as text."""
    value = f"{row['value']:.3g}{unit}"
    return f"{value} [{row['low']:.3g}, {row['high']:.3g}]" if row["low"] == row["low"] else value


def decided(one, rules):
    """The numbers behind the verdict: what, value, what it takes."""
    e = one.verdict["evidence"]
    times, least = rules["times_median"], rules["min_share"]
    text = lambda key, unit="": interval(  # noqa: E731
        dict(zip(("value", "low", "high"), e[key], strict=True)), unit
    )
    lines = [
        ("images", str(e["images"]), f"at least {MIN_IMAGES}"),
        (f"tokens over {times:g} x median after block {e['block']} of {e['blocks']}",
         text("share", " %"), f"yes: surely {least:g} % or more; no: surely fewer"),
        ("distance of the two modes of log-norms there", text("separation", " sigma"),
         f"yes: surely {rules['min_separation']:g} or more"),
    ]  # fmt: skip
    if e["tokens"]:
        lines += [
            ("uncertainty about who is an outlier that the place alone removes", text("place"),
             f"position: surely {PREDICTED:g} or more; content: surely less"),
            ("an outlier's neighbours more alike than a normal token's (AUC)", text("contrast"),
             f"position only if not surely over {ALIKE:g}: else place and content are tied"),
            ("the same among equal places of different images", text("same_place"),
             "0.5: no difference; over: redundant patches (claim 3)"),
            ("where they are", e["where"], f"{e['tokens']} tokens, at least {MIN_TOKENS}"),
        ]  # fmt: skip
    return lines


def by_rule(one):
    """Share of tokens under each rule, and the mixture, after the last block."""
    last = one.rows[one.rows["group"] == "last_block"]
    shares = last[last["metric"].str.contains("share")].to_dict("records")
    words = {"bimodality_upper_share": "upper mode of the mixture of two Gaussians"}
    return [
        (words.get(row["metric"], row["metric"].replace("share_norm_", "").replace("_", " ")),
         interval(row, " %"))
        for row in shares
    ]  # fmt: skip


def moved(registers, who, rules):
    """What registers added at test time change: quantity, before, after, random neurons."""
    if registers is None:
        return []
    kin = registers[(registers["family"] == who["family"]) & (registers["size"] == who["size"])]
    made = kin[kin["registers"].str.contains("testtime")]["registers"].unique()
    if not len(made) or base(made[0]) != who["registers"]:
        return []
    lines = []
    for pattern, words in MOVED.items():
        metric = pattern.format(f"{rules['times_median']:g}")
        cells = []
        for name in (made[0], made[0].replace("testtime", "random")):
            rows = kin[(kin["registers"] == name) & (kin["group"] != "outlier")]
            found = [rows[rows["metric"] == m] for m in (metric, f"{metric}_minus_r0")]
            if any(len(f) != 1 for f in found):
                break
            value, change = (f.iloc[0] for f in found)
            unit = " %" if value["unit"] == "percent" else ""
            cells.append((f"{value['value'] - change['value']:.3g}{unit}", interval(value, unit),
                          interval(change, unit)))  # fmt: skip
        if len(cells) == 2:
            lines.append((words, cells[0][0], cells[0][1], cells[0][2], cells[1][2]))
    return lines


def found_neurons(files, who):
    """What the search for register neurons came to, in a sentence."""
    searches = {found["name"]: found for found in map(read_receipt, files)}
    name = "/".join(who[column] for column in WHO)
    if name not in searches:
        return "Not tried: it has registers already, or the study asks for none."
    found = searches[name]
    if found["reason"]:
        return f"Nothing is attached: {found['reason']}."
    named = [f"block {block} neuron {neuron}" for block, neuron in found["neurons"]]
    return f"The neurons that write the outliers ({len(named)}): {some(named)}."


def classes(probes, who):
    """Class probe of CLS, normal and outlier tokens; empty where none was run."""
    if probes is None:
        return []
    rows = mine(probes, who)
    rows = rows[rows["metric"] == "class_top1"]
    return [
        (row["group"], interval(row, " %") if row["value"] == row["value"] else row["unit"])
        for row in rows.to_dict("records")
    ]


def paired(first, second, who, statistics):
    """Second minus first backbone on the same images, as tidy rows of the second."""
    both = first.merge(second, on="image_id", suffixes=("_1", "_2"), validate="one_to_one")
    if len(both) != len(first):
        raise StudyError("the two backbones were not shown the same images")
    s = statistics
    bootstrap = Bootstrap(len(both), s["resamples"], s["seed"], s["confidence"])
    rows = tidy.Rows(who, len(both), s["seed"])
    for metric, (_, unit) in PAIRED.items():
        if f"{metric}_1" not in both or f"{metric}_2" not in both:
            continue
        columns = {"first": both[f"{metric}_1"], "second": both[f"{metric}_2"]}
        columns["second-first"] = columns["second"] - columns["first"]
        for group, values in columns.items():
            point, low, high, _ = bootstrap.ratio(values.to_numpy(), np.ones(len(both)))
            rows.add("diagnosis", group, metric, point, low, high, "percent" if unit else "")
    return rows.frame()


def spoken_pairs(pairs):
    """Lines of the paired table: what, first, second, difference, whether it is one."""
    lines = []
    for metric, (words, unit) in PAIRED.items() if pairs is not None else ():
        rows = pairs[pairs["metric"] == metric].set_index("group")
        if len(rows):
            low, high = rows.loc["second-first", ["low", "high"]]
            said = "more" if low > 0 else "less" if high < 0 else "no difference shown"
            cells = [
                interval(rows.loc[g], f" {unit}".rstrip())
                for g in ("first", "second", "second-first")
            ]
            lines.append((words, *cells, said))
    return lines


def rest(rests, who):
    """What the numbers of a backbone rest on."""
    row = mine(rests, who).iloc[0]
    keys = ("timm_id", "origin", "weights_sha256", "geometry", "params", "device", "precision",
            "images", "images_skipped", "timm", "torch")  # fmt: skip
    return [(key, row[key]) for key in keys]


def cost(folder, site, rests, whos):
    """Extraction by backbone and all jobs together: seconds, images a second, Wh, g CO2."""
    attempts, _ = collect(Path(folder))
    spent = accounting(attempts, Site(**site), {}, "", {})
    lines = []
    for who in whos:
        seen, own = mine(rests, who).iloc[0], mine(spent[spent["rule"] == "extract"], who)
        name = f"extraction, {name_of(who)}"
        rate = f"{seen['images'] / seen['seconds']:.3g} images/s on {seen['device']}"
        lines.append((name, own, rate))
    lines.append(("all jobs so far", spent, f"{len(spent)} attempts"))
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
            files, p.backbones, p.study, p.outliers, p.statistics, p.folder, p.site,
            dict(snakemake.output.items()),
        )  # fmt: skip
