"""Gather the measurements of a claim into one table, published figures beside ours."""

import textwrap

import pandas as pd

from tokenscope import paired, tidy
from tokenscope.answers import tables
from tokenscope.gains import BASE, WITH_REGISTERS, as_ours, published_gains
from tokenscope.jobs import job
from tokenscope.kinds import is_control
from tokenscope.ranks import verdict

TITLES = {
    "claim1": "Claim 1: artifacts in the maps and norms of patch tokens",
    "claim2": "Claim 2: where in depth, and in which models, norms grow outliers",
    "claim3": "Claim 3: how alike the neighbours of outlier and of normal tokens are",
    "registers": "Registers: what they change, and what they learn",
    "claim4": "Claim 4: what normal and outlier tokens know of place, pixels and class",
    "sensitivity": "Claim 4: outlier minus normal class accuracy under other recipes of the probe",
    "claim5": "Claim 5: classification with and without registers",
    "control": "Controls: what was planted, and what the instrument says",
    "discovery": "Object discovery: LOST on patch features",
    "dense": "Dense tasks: linear heads on patch tokens, and how smooth their maps are",
}


NOTES = {
    "claim1": "Norms are L2 norms of patch tokens after the last block, before the final norm. "
    "Rules side by side: above the 98th percentile (2 % of any model by construction), above 150 "
    "(meant for DINOv2-g), above 3 x median, and a mixture of two Gaussians on log-norms. "
    "has_artifacts: yes if the share above 3 x median is surely over the configured minimum and "
    "the two modes are surely apart; no if the share is surely below it. position_entropy is 1 "
    "when outliers sit anywhere and 0 when they sit in one place.",
    "claim2": "Blocks are counted from 1. onset_block is the first from which on the share above "
    "3 x median stays over the configured minimum up to its peak.",
    "claim3": "Cosine similarity of patch embeddings (no position) with their up to four "
    "neighbours. outlier: norm above the backbone's 98th percentile, which marks 2 % of the tokens "
    "of any model, with or without artifacts; outlier_3x_median: above 3 x median, empty where "
    "there are none. Read a ratio together with claim 1: where has_artifacts is no, it compares "
    "ordinary tokens, and where position_entropy is low, place and content are confounded. "
    "The published ratio of 2.5 has no definition; ours is the ratio of the shares of pairs above "
    "a similarity, and of patches by their mean (patch).",
    "claim4": "Linear probes on frozen tokens before the final norm, split by image; normal and "
    "outlier tokens (norm above the 98th percentile of the analysed sample) in equal numbers and "
    "from the same images, class probes with one token of each kind an image. Features are "
    "standardised by all images but the test images. Pixel errors are in pixels scaled by "
    "ImageNet's mean and deviation; the published L2 error is the squared one. The learning rate "
    "is the best on validation images; n: test images, or tokens where nothing was measured. "
    "Intervals: bootstrap over seeds and test images. chance, commonest, mean patch, random and "
    "best one place: what guessing gives on the same tokens. pixel_explained: what the probe "
    "takes off the mean patch's squared error, in percent: errors of groups compare only so "
    "where one group's patches are plainer. position_confounded: yes if a group's tokens crowd "
    "in so few places (position_entropy) that their position can be guessed without looking: "
    "then a position probe says nothing about local information. outliers know: more or less if "
    "the interval of outlier minus normal leaves zero out. Controls: the planted neuron adds one "
    "and the same vector to constant patches and takes nothing away, so planted outliers should "
    "know as much as their patch shows; the clean control has no mechanism, its outliers are "
    "just its 2 % largest tokens.",
    "sensitivity": "Each recipe changes one thing of the study's class probe. Published "
    "differences on DINOv2-g: +3.2 points (darcet-2024), +18.3 (reassessment-2025).",
    "claim5": "own_head: the classifier a backbone came with; published_head: DINOv2's linear "
    "heads on [CLS; mean patch] (4_layers: CLS of the last four blocks); feature sets joined by +: "
    "linear heads trained here by SGD on features of unaugmented images, the learning rate chosen "
    "on held-out training images (learning_rate_at_edge: it is an end of the sweep, a better one "
    "may lie outside); knn: weighted vote of the nearest training images. Natively shown, or "
    "@resize256 (shorter side to 256, central 224), where -official resamples DINOv2's position "
    "embedding as its own code does. Intervals: bootstrap over test images, and over seeds where "
    "there are several; top1_over_seeds: Student's, over seeds alone. A gain is a paired "
    "difference on the same images; registers_help says whether its interval lies above zero "
    "(yes), below (no) or holds it (cannot tell), for these weights: what another training of the "
    "backbone would give, it does not know. Figures of DINOv2's README are the best of its linear "
    "heads, of one or four layers. The main paper does not say at which size it showed images; its "
    "figures stand beside the native one.",
    "registers": "Every register count beside the same backbone without registers, on the same "
    "images: ..._minus_r0 is the mean difference image by image. trained, scratch, finetuned: "
    "registers the weights know. testtime: registers added to finished weights; the few MLP "
    "neurons that write outliers fire there instead (measures/neurons says which and why). random: "
    "the control, as many neurons of the same blocks drawn at random. _of_base: over 3 x the "
    "median of the backbone without registers, the same bar for both. map_entropy: of the "
    "attention row over patches. map_cosine: of two maps of one image, their means removed.",
    "dense": "linear: a head trained here on frozen tokens after the final norm (batch norm and "
    "1 x 1 convolution for classes; 256 depth bins from patch and CLS for depth); constant: the "
    "commonest class or the mean depth of the training images. miou: over classes that occur. "
    "rmse, abs_rel, delta1: mean over images, as in BTS and DINOv2; rmse_pooled: over all pixels. "
    "..._minus_r0: the difference from the same backbone without registers on the same images, "
    "one head each, so that the noise of training a head is not in its interval; registers help: "
    "yes if the interval lies on the better side of zero, no if on the worse, else cannot tell. "
    "features_cached: yes if tokens of fixed crops were taken once, no if crops were drawn anew at "
    "each step. roughness: 0 for a map that equals its own 3 x 3 median, 1 if the median explains "
    "nothing of its variance over the image; of the tokens, of their directions (length one), and "
    "of their norms. Published NYUd figures come from 24,231 training images; the labelled file "
    "has 795.",
    "discovery": "corloc: share of the images with a box whose object has an IoU of at least 0.5 "
    "with a true box. lost: block, facet, normalisation and bias chosen on held-out images "
    "(lost_held_out, flattered by the choice), reported on the others. lost_k_unbiased and "
    "lost_v_unbiased: last block, as they are, bias 0, which is LOST as published; nothing is "
    "chosen. only_...: the choice with one hand tied. all_settings: over the whole sweep. "
    "whole_image: the box that ignores the image. The bias is added to the Gram matrix in units "
    "of the median squared norm of an image's patches; Darcet et al. did not publish theirs, so "
    "that their figures cannot be expected back exactly. Images keep their size, zero-padded to "
    "whole patches. Objects marked difficult or truncated count and crowds do not, as in LOST, "
    "unless the set drops them (left_out); images without a box are left out. ..._minus_r0: the "
    "difference from the same backbone without registers on the same images, each under the "
    "setting chosen for it; registers help: yes if its interval lies above zero, no if below.",
    "control": "planted: constant patches, read off the pixels. measured: tokens above 3 x median. "
    "The verdict is yes if not one token differs, the block is the planted one, and has_artifacts "
    "says so; for the negative control, if nothing was found.",
}


# The same quantity under the group name of the sources.
ALIASES = {"last_block": "outlier", "lost_k_unbiased": "lost", "lost_v_unbiased": "lost"}


def main(rows, claim, provenance, published, csv, text):
    """Write the tidy table, and the same for reading as Markdown with what it rests on."""
    table = pd.concat([tidy.read(path) for path in rows])
    table = table[table["claim"] == claim]
    if claim == "claim5":  # an own head may have been scored by two rules, on the same images
        table = table.drop_duplicates([*tidy.COLUMNS[:5], "group", "metric"])
    table = table.reset_index(drop=True)
    tidy.write(table, csv)
    with open(text, "w") as handle:
        theirs = pd.read_csv(published)
        gains = published_gains(theirs)
        ours = as_ours(theirs)
        beside = pd.concat([ours, gains, paired.published(ours)])
        handle.write(page(table, claim, pd.read_csv(provenance), beside, gains))


def page(table, claim, provenance, published, gains):
    """The Markdown page of a table."""
    lines = [f"# {TITLES[claim]}", "", *textwrap.wrap(NOTES[claim], 100), ""]
    published = published.fillna("")
    beside = published.groupby(tidy.PUBLISHED[:3] + tidy.PUBLISHED[4:], sort=False)
    known = {key: group for key, group in beside}
    lines += verdicts(table, known) if claim == "claim5" else differences(table, known)
    if claim == "claim4":
        lines += tables(table, lambda key, dataset: citations(known, key, dataset))
    for (dataset, *who), group in table.groupby(
        ["dataset", "family", "size", "registers"], sort=False
    ):
        kind = group["kind"].iloc[0]
        control = " (control)" if is_control(kind) else ""
        lines += [f"## {'/'.join(who)}{control} on {dataset}", ""]
        lines += ["| group | quantity | value | interval | published | n |", "|-|-|-|-|-|-|"]
        for row in group.itertuples():
            cited = citations(known, (*who, row.group, row.metric), dataset)
            ends = f"{row.low:.4g} to {row.high:.4g}" if row.low == row.low else ""
            value = spoken(row.value, row.unit)
            lines.append(f"| {row.group} | {row.metric} | {value} | {ends} | {cited} | {row.n} |")
        lines.append("")
    if not len(table):
        lines += ["No backbone of this study has a measurement for this table.", ""]
    lines += reported(gains) if claim == "claim5" else []
    lines += ["## What this rests on", ""]
    columns = ["timm_id", "origin", "geometry", "precision", "images", "images_skipped"]
    header = ["backbone", "dataset", *columns, "weights"]
    lines += ["| " + " | ".join(header) + " |", "|" + "-|" * len(header)]
    for row in provenance.to_dict("records"):
        name = "/".join(str(row[c]) for c in ("family", "size", "registers"))
        cells = [name, row["dataset"], *(str(row[c]) for c in columns), row["weights_sha256"][:12]]
        lines.append("| " + " | ".join(cells) + " |")
    seeds = " and seeds" if claim in ("claim4", "claim5", "sensitivity") else ""
    note = (
        f"Intervals: percentile bootstrap over images{seeds} (200 resamples for mixtures and "
        "entropies); n: images."
    )
    lines += ["", note, ""]
    return "\n".join(lines)


def verdicts(table, known):
    """The answer of claim 5 in one table: each difference that registers make, and its verdict."""
    head = table["group"].str.partition("@")[0]
    by_registers = (table["metric"] == "top1_gain_over_r0") | (
        (table["metric"] == f"top1_gain_over_{BASE}") & (head == WITH_REGISTERS)
    )
    if not by_registers.any():
        return []
    header = ["backbone", "dataset", "head", "compared with", "gain in top-1 (points)", "interval"]
    header += ["published", "registers help"]
    lines = ["## Do registers help?", "", f"| {' | '.join(header)} |", "|" + "-|" * len(header)]
    for gain in table[by_registers].itertuples():
        who = (gain.family, gain.size, gain.registers)
        cited = citations(known, (*who, gain.group, gain.metric))
        base = gain.metric.removeprefix("top1_gain_over_")
        value = f"{gain.value:+.2f} | {gain.low:+.2f} to {gain.high:+.2f} | {cited}"
        said = spoken(verdict(gain.low, gain.high), "verdict")
        lines.append(
            f"| {'/'.join(who)} | {gain.dataset} | {gain.group} | {base} | {value} | {said} |"
        )
    return [*lines, ""]


def reported(gains):
    """What the sources say registers gain, also of backbones that this study has not."""
    header = "source | item | backbone | head | compared with | gain in top-1 (points) | accuracies"
    lines = ["## What was published (without intervals)", "", f"| {header} |", "|" + "-|" * 7]
    for row in gains.itertuples():
        who = f"{row.family}/{row.size}/{row.registers}"
        base = row.metric.removeprefix("top1_gain_over_")
        head = row.group or "own_head"
        cells = [row.source, row.item, who, head, base, f"{row.value:+.2f}", row.note]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def differences(table, known):
    """What registers change in discovery and dense tasks, and whether that is for the better."""
    if not (table["metric"] == "registers_help").any():
        return []
    header = ["backbone", "dataset", "group", "quantity", "minus r0", "interval", "published"]
    lines = ["## Do registers help?", "", f"| {' | '.join([*header, 'registers help'])} |"]
    lines.append("|" + "-|" * (len(header) + 1))
    for row in table[table["metric"].str.endswith(paired.MINUS)].itertuples():
        who = (row.family, row.size, row.registers)
        cited = citations(known, (*who, row.group, row.metric), row.dataset)
        cells = ["/".join(who), row.dataset, row.group, row.metric.removesuffix(paired.MINUS)]
        cells += [f"{row.value:+.4g} {row.unit}", f"{row.low:+.4g} to {row.high:+.4g}", cited]
        cells.append(spoken(paired.helps(row.metric, row.low, row.high), "verdict"))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def citations(known, key, dataset=""):
    """Published values of the same quantity with their sources, of that data set where known."""
    theirs = known.get((*key[:3], ALIASES.get(key[3], key[3]), key[4]))
    if theirs is None:
        return ""
    if dataset in set(theirs["dataset"]):
        theirs = theirs[theirs["dataset"] == dataset]
    cited = (f"{p.value:g} ({p.source}, {p.dataset})" for p in theirs.itertuples())
    return "; ".join(dict.fromkeys(cited))  # a paper may print a figure in two tables


def spoken(value, unit):
    """A number as a reader wants it: verdicts in words, percent as a sign."""
    if unit == "verdict":
        return {0.0: "no", 1.0: "yes"}.get(value, "cannot tell")
    if unit.startswith(tidy.NOT_MEASURED):
        return unit
    if value != value:
        return "undefined"
    return f"{value:.4g}" + {"percent": " %", "": ""}.get(unit, f" {unit}")


if "snakemake" in globals():
    with job(snakemake.log[0], f"table {snakemake.output.csv.rsplit('/', 1)[1]}"):
        i, out = snakemake.input, snakemake.output
        main(i.rows, snakemake.params.claim, i.provenance, i.published, out.csv, out.text)
