"""What a page says of a backbone's tables: lines of words, values and intervals."""

import numpy as np
import pandas as pd

from tokenscope.diagnosis.advice import untried
from tokenscope.diagnosis.verdict import ALIKE, MIN_TOKENS, PREDICTED
from tokenscope.errors import StudyError, some
from tokenscope.figures.backbone import BackboneFigures
from tokenscope.norms.outlier_rule import share_metric
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.study.register_names import base
from tokenscope.tables import formatting, tidy
from tokenscope.tables.formatting import interval_text, number_text, words
from tokenscope.tables.names import minus_r0
from tokenscope.tables.rests_on import sentence
from tokenscope.tables.tidy import BACKBONE_COLUMNS

PAIRED = {
    "share_last_block": ("tokens over the cutoff, last block", "percent"),
    "share_peak_block": ("tokens over the cutoff, block with most", "percent"),
    "norm_max_over_median": ("largest norm of an image / its median, last block", ""),
    "attention_share_of_top_2_percent": ("CLS attention on its top 2 % of patches", "percent"),
}
MOVED = {
    "share_norm_over_{}x_median_of_base": "tokens over the cutoff (block with most before)",
    "norm_max_over_median": "largest norm of an image / its median, last block",
    "attention_share_where_base_has_outliers": "CLS attention where outliers were",
    "top1": "top-1 of its own head",
}


def of_backbone(table: pd.DataFrame, who: dict) -> pd.DataFrame:
    """The rows of one backbone."""
    mask = np.logical_and.reduce([table[column] == who[column] for column in BACKBONE_COLUMNS])
    return table[mask]


def interval(row, unit: str = "") -> str:
    """Value and interval of a tidy row, in the digits of the report; why there is none, if so."""
    ends = interval_text(row["low"], row["high"], unit)
    return f"{formatting.as_text(row['value'], unit)} {ends}".strip()


def headline(verdict: dict, confidence: float) -> str:
    """The verdict as a reader is told it; ``diagnosis.json`` has it in the criterion's terms.

    Args:
        verdict: JSON of rule diagnosis: ``artifacts``, ``about`` and the ``evidence``.
        confidence: of its decisions and intervals.
    """
    e, surely = verdict["evidence"], f"with {100 * confidence:.0f} % confidence"
    if verdict["artifacts"] != "yes":
        return f"{verdict['artifacts'].capitalize()}: {e['why']}."
    share = interval(dict(zip(("value", "low", "high"), e["share"], strict=True)), "percent")
    said = [
        f"Yes: {share} of its patch tokens are outliers after block {e['block']} of {e['blocks']}, "
        f"at {number_text(e['ratio'])} x the median norm; they begin in block {e['onset']:.0f}."
    ]
    if e["last"] != "yes":
        there = "has none" if e["last"] == "no" else f"cannot be said to have any {surely}"
        said.append(f"The last block {there}.")
    alike, unlike = e["same_place"][1] > 0.5, e["same_place"][2] < 0.5
    around = "alike" if alike else "unlike each other" if unlike else ""
    if e["tokens"] < MIN_TOKENS:
        said.append(f"These are {e['tokens']} tokens, too few to say where they come from.")
    elif verdict["about"] == "position":
        said.append(f"They sit at fixed positions ({e['where']}), whatever the image shows.")
    elif verdict["about"] == "content":
        what = f"where neighbouring patches are {around}" if around else e["where"]
        said.append(f"They follow what the image shows, not the position: {what}.")
    elif e["place"][1] >= PREDICTED:
        said.append(
            f"Position and content cannot be told apart, as these images tie them: {e['where']}."
        )
    else:
        said.append(f"Whether position decides or content, these images leave open: {e['where']}.")
    return " ".join(said)


def decided(backbone: BackboneFigures, rules: dict) -> list[tuple]:
    """The numbers behind the verdict: what, value, what it takes."""
    e = backbone.verdict["evidence"]
    text = lambda key, unit="": interval(  # noqa: E731
        dict(zip(("value", "low", "high"), e[key], strict=True)), unit
    )
    lines = [("images", str(e["images"]), e["why"])]
    if e["artifacts"] == "yes":
        lines += [
            (f"tokens of the mode after block {e['block']} of {e['blocks']}",
             text("share", "percent"), f"yes: {rules['min_share']:g} % or more"),
            ("their norm", f"{number_text(e['ratio'])} x the median of their image",
             f"over the valley at {number_text(e['cutoff'])} x"),
        ]  # fmt: skip
    elif np.isfinite(e["smallest_ratio"]):
        lines.append((
            f"a mode of {rules['min_share']:g} % of tokens would have been seen",
            f"from {number_text(e['smallest_ratio'])} x median on",
            "nearer to the bulk nobody can tell",
        ))  # fmt: skip
    if e["tokens"]:
        lines += [
            ("share of the outlier/normal uncertainty that position explains", text("place"),
             f"position: interval from {PREDICTED:g} on; content: below it"),
            ("an outlier's neighbours more alike than a normal token's (AUC)", text("contrast"),
             f"interval over {ALIKE:g}: place and content cannot be told apart, so no position"),
            ("the same among equal places of different images", text("same_place"),
             "0.5: no difference; over: redundant patches (claim 3)"),
            ("where they are", e["where"], f"{e['tokens']:,} tokens, at least {MIN_TOKENS}"),
        ]  # fmt: skip
    return lines


def shares_in_words(backbone: BackboneFigures, times: float) -> str:
    """What the curve of outlier tokens by block shows, for those who cannot see it.

    Args:
        times: the multiple of the median that is the cutoff.
    """
    rows = backbone.rows
    line = rows[(rows["metric"] == share_metric(times)) & rows["group"].str.fullmatch(r"block\d+")]
    over = f"tokens over {times:g} x median"
    if not line["value"].max() > 0:
        return f"{backbone.name}: no {over} after any of {len(line)} blocks."
    cells = line.to_dict("records")
    some = [number for number, row in enumerate(cells, 1) if row["value"] > 0]
    most = max(some, key=lambda number: cells[number - 1]["value"])
    return (
        f"{backbone.name}: {over} from block {some[0]} of {len(line)} on, most after block {most}, "
        f"{interval(cells[most - 1], 'percent')}; after the last {interval(cells[-1], 'percent')}."
    )


def last_in_words(backbone: BackboneFigures, times: float) -> str:
    """The same of the norms after the last block."""
    last = backbone.rows[backbone.rows["group"] == "last_block"].set_index("metric")
    median, largest = last.loc["norm_median", "value"], last.loc["norm_max", "value"]
    return (
        f"{backbone.name}: median {median:.3g}, largest {largest:.3g}, which is "
        f"{largest / median:.2g} x median; over {times:g} x median "
        f"{interval(last.loc[share_metric(times)], 'percent')} of the tokens."
    )


ORIGINS = {
    "row": "the file given", "folder": "the folder of local weights", "hub": "fetched from the hub",
    "cache": "kept from an earlier download",
}  # fmt: skip


def seen_images(images: dict, row: pd.Series) -> str:
    """Which images a page is about, in a sentence.

    Args:
        images: ``path`` and ``seed`` of the data set.
        row: of the table of backbones: how many are listed, used, skipped; as which square.
    """
    used, listed = int(row["images"]), int(row["images_listed"])
    skipped = int(row["images_skipped"])
    how = f"a seeded sample (seed {images['seed']})"
    if used + skipped >= listed:
        how = "all that can be read" if skipped else "all"
    left_out = f"; {skipped:,} could not be read and are left out" if skipped else ""
    return f"{used:,} of the {listed:,} images below {images['path']}, {how}{left_out}"


def facts(card: dict, spec: dict, row: pd.Series) -> list[tuple[str, str]]:
    """What the numbers of a backbone rest on: architecture, weights, images as it saw them.

    Args:
        card: of its weights. spec: how it is opened, with the scaling of colours.
        row: of the table of backbones.
    """
    colours = ", ".join(
        f"{name} {' '.join(f'{x:g}' for x in spec[name])}" for name in ("mean", "std")
    )
    origin = ORIGINS.get(card["origin"], card["origin"])
    return [
        ("architecture (timm)", f"{card['timm_id']}, {int(row['params']):,} parameters"),
        ("weights", f"{card['weights']} ({origin})"),
        ("SHA-256 of the weights", card["sha256"]),
        ("images as it saw them", f"{row['geometry']}, colours scaled by {colours}"),
        ("computed on", f"{row['device']}, {row['precision']}; timm {row['timm']}, torch "
         f"{row['torch']}"),
        ("measured by", sentence(pd.DataFrame([row])).removeprefix("Measured by ")),
    ]  # fmt: skip


def by_rule(backbone: BackboneFigures) -> list[tuple]:
    """Share of tokens under each rule, and the mixture, after the last block."""
    last = backbone.rows[backbone.rows["group"] == "last_block"]
    shares = last[last["metric"].str.contains("share")].to_dict("records")
    named = {"bimodality_upper_share": "upper mode of the mixture of two Gaussians"}
    return [
        (named.get(row["metric"], words(row["metric"])), interval(row, "percent"))
        for row in shares
    ]  # fmt: skip


def moved(registers: pd.DataFrame | None, who: dict, rules: dict) -> list[tuple]:
    """What registers added at test time change: quantity, before, after, random neurons."""
    if registers is None:
        return []
    same_size = tidy.rows_of(registers, family=who["family"], size=who["size"])
    made = same_size[same_size["registers"].str.contains("testtime")]["registers"].unique()
    if not len(made) or base(made[0]) != who["registers"]:
        return []
    lines = []
    for pattern, named in MOVED.items():
        metric = pattern.format(f"{rules['times_median']:g}")
        cells = []
        for name in (made[0], made[0].replace("testtime", "random")):
            rows = same_size[(same_size["registers"] == name) & (same_size["group"] != "outlier")]
            both = [rows[rows["metric"] == m] for m in (metric, minus_r0(metric))]
            if any(len(r) != 1 for r in both):
                break
            value, change = (r.iloc[0] for r in both)
            unit = value["unit"]
            before = formatting.as_text(value["value"] - change["value"], unit)
            cells.append((before, interval(value, unit), interval(change, change["unit"])))
        if len(cells) == 2:
            lines.append((named, cells[0][0], cells[0][1], cells[0][2], cells[1][2]))
    return lines


def unseen(registers: pd.DataFrame | None, who: dict) -> dict[str, dict]:
    """What one register does on images that chose nothing.

    Returns:
        ``before``, ``share``, ``kept``, ``top1``, each ``value``, ``low``, ``high``; without
        ``top1`` where nobody knows the classes, empty where nothing was attached.
    """
    if registers is None:
        return {}
    rows = tidy.rows_of(registers, family=who["family"], size=who["size"])
    rows = rows[[base(name) == who["registers"] for name in rows["registers"]]]
    found = {}
    for key, group, metric in (
        ("before", "before", "unseen_share"), ("share", "testtime", "unseen_share"),
        ("kept", "testtime", "unseen_kept"), ("top1", "testtime", "unseen_top1_minus_r0"),
    ):  # fmt: skip
        row = tidy.rows_of(rows, group=group, metric=metric)
        if len(row):
            found[key] = {end: float(row[end].iloc[0]) for end in ("value", "low", "high")}
    return found


def search_of(files: list[str], who: dict) -> dict | None:
    """The search for register neurons of a backbone; None where there was none."""
    name = "/".join(who[column] for column in BACKBONE_COLUMNS)
    return {search["name"]: search for search in map(read_receipt, files)}.get(name)


def neurons(search: dict | None, count: int) -> str:
    """What the search for register neurons came to, of a backbone of so many registers."""
    if search is None:
        return f"Not tried: {untried(count)}."
    if search["reason"]:
        return f"Nothing is attached: {search['reason']}."
    named = [f"block {block} neuron {neuron}" for block, neuron in search["neurons"]]
    return f"The neurons that write the outliers ({len(named)}): {some(named)}."


def own_head(heads: pd.DataFrame | None, who: dict) -> str:
    """Top-1 of a backbone's own head with its interval; empty where it was not scored."""
    if heads is None:
        return ""
    rows = of_backbone(heads, who).query("group == 'own_head' and metric == 'top1'")
    return interval(rows.iloc[0].to_dict(), "percent") if len(rows) else ""


def classes(probes: pd.DataFrame | None, who: dict) -> list[tuple]:
    """Class probe of CLS, normal and outlier tokens; empty where none was run."""
    if probes is None:
        return []
    rows = of_backbone(probes, who)
    rows = rows[rows["metric"] == "class_top1"]
    return [(words(row["group"]), interval(row, row["unit"])) for row in rows.to_dict("records")]


def paired(first: pd.DataFrame, second: pd.DataFrame, who: dict, statistics: dict) -> pd.DataFrame:
    """Second minus first backbone on the same images, as tidy rows of the second."""
    both = first.merge(second, on="image_id", suffixes=("_1", "_2"), validate="one_to_one")
    if len(both) != len(first):
        raise StudyError("the two backbones were not shown the same images")
    s = statistics
    bootstrap = Bootstrap.of(len(both), s)
    rows = tidy.TidyRows(who, len(both), s["seed"])
    for metric, (_, unit) in PAIRED.items():
        if f"{metric}_1" not in both or f"{metric}_2" not in both:
            continue
        columns = {"first": both[f"{metric}_1"], "second": both[f"{metric}_2"]}
        columns["second-first"] = columns["second"] - columns["first"]
        for group, values in columns.items():
            point, low, high, _ = bootstrap.ratio(values.to_numpy(), np.ones(len(both)))
            shown = "points" if unit and group == "second-first" else unit
            rows.add("diagnosis", group, metric, point, low, high, shown)
    return rows.frame()


def as_text(pairs: pd.DataFrame | None) -> list[tuple]:
    """Lines of the paired table: what, first, second, difference, whether it is one."""
    lines = []
    for metric, (named, unit) in PAIRED.items() if pairs is not None else ():
        rows = pairs[pairs["metric"] == metric].set_index("group")
        if len(rows):
            low, high = rows.loc["second-first", ["low", "high"]]
            answer = "more" if low > 0 else "less" if high < 0 else "no difference shown"
            cells = [
                interval(rows.loc[group], shown)
                for group, shown in (
                    ("first", unit), ("second", unit), ("second-first", "points" * bool(unit)),
                )
            ]  # fmt: skip
            lines.append((named, *cells, answer))
    return lines
