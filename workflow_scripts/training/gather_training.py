"""The table of trainings: every backbone trained here before and after, and means over seeds."""

import textwrap

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy
from tokenscope.training.summary import SETTINGS, WHO, chosen, curve_rows, over_seeds

NOTE = (
    "before: the backbone it was fine-tuned from, on the same images; a training from scratch has "
    "no before. Norms are those of last-block patch tokens before the final norm, and of CLS and "
    "registers. Outliers: patches over 3 x median. Loss: of the class alone, mean of the first and "
    "of the last epoch, on training images. Brackets: bootstrap over images; 'over seeds': "
    "Student's interval over trainings that differ in their seed only."
)


def main(backbones, measures, emergence, published, confidence, outputs):
    """Write the tidy table (with the settings of each training), its page, and all curves.

    Args:
        backbones: for each training: ``key``, ``kind``, ``card``, ``history``, ``base``, settings.
        measures: by backbone, trained or base, the rows of rule norms on every data set.
        emergence: rows of rule emergence.
        outputs: ``csv``, ``text``, ``histories`` and ``emergence``.
    """
    tables = {key: pd.concat(map(tidy.read, files)) for key, files in measures.items()}
    rows = [_rows(one, tables) for one in backbones]
    empty = pd.DataFrame(columns=[*tidy.COLUMNS, *SETTINGS])
    table = pd.concat(rows, ignore_index=True) if rows else empty
    table = pd.concat([table, over_seeds(table, confidence)], ignore_index=True)
    tidy.write(table, outputs["csv"])
    with open(outputs["text"], "w") as handle:
        handle.write(page(table, pd.read_csv(published)))
    curves = [
        pd.read_csv(one["history"]).assign(**dict(zip(WHO, one["key"].split("/"), strict=True)))
        for one in backbones
    ]
    tidy.write(pd.concat(curves) if curves else pd.DataFrame(columns=WHO), outputs["histories"])
    steps = [tidy.read(path) for path in emergence]
    empty = pd.DataFrame(columns=[*tidy.COLUMNS, "step", "block"])
    tidy.write(pd.concat(steps) if steps else empty, outputs["emergence"])


def _rows(one, tables):
    who = dict(zip(WHO, one["key"].split("/"), strict=True)) | {"kind": one["kind"]}
    after = chosen(tables[one["key"]])
    parts = [after.assign(group="after: " + after["group"])]
    if one["base"]:
        before = chosen(tables[one["base"]])
        parts.append(before.assign(group="before: " + before["group"], **who))
    card = read_receipt(one["card"])
    facts = tidy.TidyRows({**who, "dataset": card["recipe"].get("dataset", "")}, card["images"], "")
    for metric, value in curve_rows(pd.read_csv(one["history"])).items():
        facts.add("training", "curve", metric, value, unit="percent" if "top1" in metric else "")
    facts.add("training", "size", "parameters_trained", card["trained_parameters"])
    facts.add("training", "size", "updates", card["updates"])
    parts.append(facts.frame())
    return pd.concat(parts).assign(**{"claim": "training"}, **{k: one[k] for k in SETTINGS})


def page(table, published):
    """One line a training and data set, in the order of the zoo."""
    lines = ["# Training with registers", "", *textwrap.wrap(NOTE, 100), ""]
    measured = table[table["dataset"] != ""]
    lines += [
        "| backbone | on | loss | top-1 before (%) | top-1 after (%) | published | "
        "outliers before (%) | outliers after (%) | median norm before, after | "
        "largest register norm |",
        "|" + "-|" * 10,
    ]
    for (dataset, *who), group in measured.groupby(["dataset", *WHO], sort=False):
        own = table[(table[WHO] == who).all(axis=1)].set_index(["group", "metric"])
        seeds = ", over seeds" if group["group"].str.endswith("seeds").any() else ""
        found = group.set_index(["group", "metric"])
        share = next(m for m in group["metric"] if m.startswith("share_norm_over_") and "x" in m)

        def cell(name, metric, found=found, seeds=seeds, own=own):
            for source in (found, own):
                if (key := (name + seeds, metric)) in source.index:
                    return _spoken(source.loc[[key]].iloc[0])
            return ""

        registers = group[
            group["group"].str.fullmatch(rf"after: reg\d+{seeds}")
            & (group["metric"] == "norm_mean")
        ]
        losses = [cell("curve", f"loss_{part}_epoch") for part in ("first", "last")]
        medians = [cell(f"{when}: last_block", "norm_median") for when in ("before", "after")]
        top = f"{registers['value'].max():.3g}" if len(registers) else ""
        cells = [
            "/".join(who) + seeds, dataset, " to ".join(losses),
            cell("before: own_head", "top1"), cell("after: own_head", "top1"),
            _published(published, who, dataset), cell("before: last_block", share),
            cell("after: last_block", share), ", ".join(m for m in medians if m), top,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if not len(measured):
        lines += ["", "No backbone of this study is trained here."]
    return "\n".join([*lines, ""])


def _spoken(row):
    ends = f" [{row['low']:.3g}, {row['high']:.3g}]" if row["low"] == row["low"] else ""
    return f"{row['value']:.3g}{ends}" if row["value"] == row["value"] else "undefined"


def _published(published, who, dataset):
    """Top-1 of bach-2025's trainings from scratch, beside ours of the same size and registers."""
    family, size, registers = who
    rows = published[
        (published["source"] == "bach-2025") & (published["metric"] == "top1")
        & (published["size"] == size) & (published["dataset"] == dataset)
        & (published["registers"] + "-scratch" == registers)
    ]  # fmt: skip
    same = rows[[family.startswith(name) for name in rows["family"]]] if len(rows) else rows
    return "; ".join(f"{row.value:g} ({row.source})" for row in same.itertuples())


if "snakemake" in globals():
    with job(snakemake.log[0], "table training"):
        p, out = snakemake.params, snakemake.output
        i, outputs = snakemake.input, dict(out.items())
        main(p.backbones, p.measures, i.emergence, i.published, p.confidence, outputs)
