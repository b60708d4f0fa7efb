"""Does this backbone have artifacts, and are they about place or content: the verdict."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from tokenscope.diagnosis.verdict import Evidence, contrast, place_share, places, verdict_of
from tokenscope.jobs.job import job, log
from tokenscope.norms.artifacts import judge, measured
from tokenscope.norms.attention_maps import top_mass
from tokenscope.norms.distribution import outliers
from tokenscope.norms.outlier_rule import max_over_median, outlier_mask
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy


def main(receipts, who, rules, statistics, outputs):
    """Judge one backbone on one data set.

    Args:
        receipts: of its token store, one for each shard.
        who: the backbone and the data set, as columns of tidy rows.
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        outputs: paths for ``rows`` (tidy), ``verdict`` (JSON: the sentence and the evidence),
            ``images`` (CSV, a line an image: what two backbones are compared by, paired).
    """
    tokens = PatchNorms.open(receipts)
    lengths = tokens.norms()
    images, blocks, _ = lengths.shape
    judgement = judge(lengths, min_share=rules["min_share"], confidence=statistics["confidence"])
    outlier = outliers(lengths, judgement, rules)
    cosine = np.nanmean(tokens.read("neighbour_cosine"), axis=2)
    bootstrap = Bootstrap.of(images, statistics)
    evidence = Evidence(
        images=images, artifacts=judgement.verdict, why=judgement.why,
        last=judgement.last_block, block=judgement.block, blocks=blocks, onset=judgement.onset,
        share=(judgement.share, *judgement.share_interval), ratio=judgement.ratio,
        cutoff=judgement.cutoff, smallest_ratio=judgement.smallest_ratio,
        tokens=int(outlier.sum()),
        place=place_share(outlier, bootstrap),
        contrast=contrast(cosine, outlier, bootstrap),
        same_place=contrast(cosine, outlier, bootstrap, same_place=True),
        where=places(outlier, tokens.grid) if outlier.any() else "",
    )  # fmt: skip
    verdict = verdict_of(evidence)
    log.info("%s", verdict.sentence)
    tidy.write(_rows(evidence, verdict, judgement, who, statistics), outputs["rows"])
    _by_image(tokens.image_ids, lengths, rules, tokens.attention("cls")).to_csv(
        outputs["images"], index=False, float_format="%.7g"
    )
    summary = {"sentence": verdict.sentence, "artifacts": verdict.artifacts, "about": verdict.about}
    write_text(outputs["verdict"], json.dumps(summary | {"evidence": asdict(evidence)}, indent=1))


def _rows(e, verdict, judgement, who, statistics):
    rows = tidy.TidyRows(who, e.images, statistics["seed"])
    for measurement in measured(judgement):
        rows.add("diagnosis", *measurement)
    about = {"position": 1.0, "content": 0.0}.get(verdict.about)
    rows.add("diagnosis", "verdict", "follows_position", about, unit="verdict")
    rows.add("diagnosis", "outlier", "tokens", e.tokens, unit="tokens")
    rows.add("diagnosis", "outlier", "predicted_by_place", *e.place, unit="of the uncertainty")
    rows.add("diagnosis", "outlier", "contrast_auc", *e.contrast)
    rows.add("diagnosis", "outlier", "contrast_auc_same_place", *e.same_place)
    return rows.frame()


def _by_image(ids, lengths, rules, attention):
    """Per image: shares and largest norm after the last block, the worst block, CLS attention.

    Two backbones are compared by one rule, for which any can be asked: that of the papers.
    """
    over = 100 * outlier_mask(lengths, rules["times_median"]).mean(2)
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
            receipts=i.receipts, who=p.who, rules=p.outliers, statistics=p.statistics,
            outputs=dict(snakemake.output.items()),
        )  # fmt: skip
