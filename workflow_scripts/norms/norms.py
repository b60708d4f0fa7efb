"""Claims 1 and 2: how the norms of patch tokens are distributed, block by block."""

import json

import pandas as pd

from tokenscope.jobs.job import Progress, job, log
from tokenscope.norms import distribution
from tokenscope.norms.artifacts import judge
from tokenscope.norms.attention_maps import (
    AGREEMENT,
    WITHOUT_CLS,
    excess,
    joint,
    norms_and_attention,
    without_cls,
)
from tokenscope.norms.exceedance import tails
from tokenscope.norms.places import share_by_place
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement
from tokenscope.stats.top_k import own_head
from tokenscope.stores.receipts import write_text
from tokenscope.tables.tidy import TidyRows, write


def main(receipts, who, rules, statistics, outputs):
    """Measure one backbone on one data set.

    Args:
        receipts: of its token store, one for each shard.
        who: the backbone and the data set, as columns of tidy rows.
        rules: the study's section ``outliers``. statistics: its section of that name.
        outputs: paths for ``rows`` (tidy), ``cutoffs`` (JSON, for the claims that choose tokens by
            norm), ``curves`` (densities of the norm by block), ``places`` (where outliers sit),
            ``joint`` (norm and attention at once) and ``tails`` (JSON, how many tokens are above
            each threshold, for the report's explorer).
    """
    tokens = PatchNorms.open(receipts)
    norms = tokens.norms()
    last = norms[:, -1]
    bootstrap = Bootstrap.of(tokens.images, statistics)
    judgement = judge(norms, min_share=rules["min_share"], confidence=statistics["confidence"])
    log.info("artifacts: %s: %s", judgement.verdict, judgement.why)
    blocks = distribution.measure_blocks(norms, bootstrap, rules, Progress("blocks"))
    measured = {
        "claim1": distribution.claim1(
            blocks,
            judgement,
            norms,
            tokens.prefix_norms(),
            tokens.attention("cls"),
            bootstrap,
            rules,
        ),
        "claim2": distribution.claim2(blocks, bootstrap, rules),
    }
    if all(name in tokens for name in AGREEMENT):
        agreement = {name: tokens.read(name) for name in AGREEMENT}
        judged = judgement.block if judgement.verdict == "yes" else None
        for claim, rows in norms_and_attention(agreement, last.shape[1], judged, bootstrap).items():
            measured[claim] += rows
    if (maps := tokens.attention("cls")) is not None:
        peaks = excess(maps, tokens.grid)
        measured["claim1"].append(
            Measurement.mean("cls", "attention_excess", peaks, bootstrap, "percent")
        )
    if "top5" in tokens and "label" in tokens and (tokens.read("label") >= 0).all():
        measured["claim5"] = own_head(tokens.read("top5"), tokens.read("label"), bootstrap)
    outlier = distribution.outliers(norms, judgement, rules)
    for name, group in WITHOUT_CLS.items():
        if name in tokens:
            measured["claim1"] += without_cls(
                group, tokens.read(name), outlier, last, tokens.grid, bootstrap
            )
    rows = TidyRows(who, tokens.images, statistics["seed"])
    for claim, measurements in measured.items():
        for measurement in measurements:
            rows.add(claim, *measurement)

    write(rows.frame(), outputs["rows"])
    write(pd.DataFrame({**who, **distribution.density(norms, bootstrap)}), outputs["curves"])
    received = next((tokens.read(name) for name in WITHOUT_CLS if name in tokens), None)
    seen = maps if maps is not None else received
    together = {} if seen is None else joint(last, seen)
    columns = ["norm", "attention", "share", "attention_p98"]
    write(pd.DataFrame({**who, **(together or dict.fromkeys(columns, []))}), outputs["joint"])
    by_place = share_by_place(last, outlier, tokens.grid, rules)
    write(pd.DataFrame({**who, **by_place}), outputs["places"])
    write_text(outputs["tails"], json.dumps(tails(norms, rules["times_median"])))
    cutoffs = distribution.cutoffs(last, blocks[-1], judgement, rules)
    write_text(outputs["cutoffs"], json.dumps(cutoffs, indent=1))


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    label = f"norms {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            receipts=snakemake.input, who=p.who, rules=p.outliers, statistics=p.statistics,
            outputs=dict(snakemake.output.items()),
        )  # fmt: skip
