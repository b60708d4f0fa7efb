"""Does this backbone have artifacts, and are they about place or content: the verdict."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from tokenscope.diagnosis.verdict import Evidence, contrast, judge, place_share, places
from tokenscope.jobs.job import job, log
from tokenscope.norms.attention_maps import top_mass
from tokenscope.norms.outlier_rule import max_over_median, outlier_mask, share_metric
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy


def main(receipts, norms, who, rules, statistics, outputs):
    """Judge one backbone on one data set.

    Args:
        receipts: of its token store, one for each shard.
        norms: CSV of its measurements for claims 1 and 2.
        who: the backbone and the data set, as columns of tidy rows.
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        outputs: paths for ``rows`` (tidy), ``verdict`` (JSON: the sentence and the evidence),
            ``images`` (CSV, a line an image: what two backbones are compared by, paired).
    """
    tokens = PatchNorms.open(receipts)
    lengths = tokens.norms()
    images, blocks, _ = lengths.shape
    measured, times = tidy.read(norms), rules["times_median"]
    over = share_metric(times)
    last, peak = (_at(measured, f"{b}_block", "has_artifacts")[0] for b in ("last", "peak"))
    # The last block is what users take features from; another is judged only where it is not clear.
    peak_block = _at(measured, "depth", "peak_block")[0]
    block = blocks if last == 1 or np.isnan(peak_block) else int(peak_block)
    outlier = outlier_mask(lengths[:, block - 1], times)
    cosine = np.nanmean(tokens.read("neighbour_cosine"), axis=2)
    bootstrap = Bootstrap.of(images, statistics)
    evidence = Evidence(
        images=images, last=last, peak=peak, block=block, blocks=blocks,
        share=_at(measured, f"block{block:02d}", over),
        separation=_at(measured, f"block{block:02d}", "bimodality_separation"),
        onset=_at(measured, "depth", "onset_block")[0], tokens=int(outlier.sum()),
        place=place_share(outlier, bootstrap),
        contrast=contrast(cosine, outlier, bootstrap),
        same_place=contrast(cosine, outlier, bootstrap, same_place=True),
        where=places(outlier, tokens.grid) if outlier.any() else "",
    )  # fmt: skip
    verdict = judge(evidence, rules)
    log.info("%s", verdict.sentence)
    tidy.write(_rows(evidence, verdict, who, statistics), outputs["rows"])
    _by_image(tokens.image_ids, lengths, times, tokens.attention("cls")).to_csv(
        outputs["images"], index=False, float_format="%.7g"
    )
    summary = {"sentence": verdict.sentence, "artifacts": verdict.artifacts, "about": verdict.about}
    write_text(outputs["verdict"], json.dumps(summary | {"evidence": asdict(evidence)}, indent=1))


def _at(table, group, metric):
    """Value, low and high of one row."""
    row = table[(table["group"] == group) & (table["metric"] == metric)].iloc[0]
    return float(row["value"]), float(row["low"]), float(row["high"])


def _rows(e, verdict, who, statistics):
    rows = tidy.TidyRows(who, e.images, statistics["seed"])
    artifacts = {"yes": 1.0, "no": 0.0}.get(verdict.artifacts)
    rows.add("diagnosis", "verdict", "has_artifacts", artifacts, unit="verdict")
    about = {"position": 1.0, "content": 0.0}.get(verdict.about)
    rows.add("diagnosis", "verdict", "follows_position", about, unit="verdict")
    rows.add("diagnosis", "judged_block", "block", e.block, unit="block, from 1")
    rows.add("diagnosis", "judged_block", "share", *e.share, unit="percent")
    rows.add("diagnosis", "judged_block", "bimodality_separation", *e.separation)
    rows.add("diagnosis", "outlier", "tokens", e.tokens, unit="tokens")
    rows.add("diagnosis", "outlier", "predicted_by_place", *e.place, unit="of the uncertainty")
    rows.add("diagnosis", "outlier", "contrast_auc", *e.contrast)
    rows.add("diagnosis", "outlier", "contrast_auc_same_place", *e.same_place)
    return rows.frame()


def _by_image(ids, lengths, times, attention):
    """Per image: shares and largest norm after the last block, the worst block, CLS attention."""
    over = 100 * outlier_mask(lengths, times).mean(2)
    table = pd.DataFrame({
        "image_id": ids, "share_last_block": over[:, -1],
        "share_peak_block": over[:, over.mean(0).argmax()],
        "norm_max_over_median": max_over_median(lengths[:, -1]),
    })  # fmt: skip
    if attention is not None:
        share = 100 * top_mass(attention) / attention.sum(1)
        table["attention_share_of_top_2_percent"] = share
    return table


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    label = f"diagnosis {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            receipts=i.receipts, norms=i.norms, who=p.who, rules=p.outliers,
            statistics=p.statistics, outputs=dict(snakemake.output.items()),
        )  # fmt: skip
