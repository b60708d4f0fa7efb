"""Figure 4 in numbers: has the first of its backbones as many outliers as each of the others?"""

from tokenscope.jobs.job import job
from tokenscope.norms.outlier_rule import Judged
from tokenscope.norms.register_effect import BackboneTokens, contrast
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy


def main(backbones, rules, statistics, output):
    """Write tidy rows of the first backbone, one group for each of the others.

    Args:
        backbones: for each: ``who`` (columns of tidy rows that name it), ``receipts`` of its token
            store, ``cutoffs`` (JSON of rule norms).
        rules, statistics: the study's sections ``outliers`` and ``statistics``.
        output: CSV to write.
    """
    first, *others = (
        BackboneTokens.read(PatchNorms.open(b["receipts"]), Judged.of(read_receipt(b["cutoffs"])))
        for b in backbones
    )
    images = len(first.patches)
    bootstrap = Bootstrap.of(images, statistics)
    rows = tidy.TidyRows(backbones[0]["who"], images, statistics["seed"])
    for backbone, other in zip(backbones[1:], others, strict=True):
        who = backbone["who"]
        named = "/".join(who[column] for column in tidy.BACKBONE_COLUMNS)
        for group, *rest in contrast(first, other, rules["times_median"], bootstrap):
            rows.add("claim2", f"{group}, other: {named}", *rest)
    tidy.write(rows.frame(), output)


if "snakemake" in globals():
    p = snakemake.params
    with job(snakemake.log[0], f"contrast {snakemake.wildcards.dataset}", snakemake.threads):
        main(
            backbones=p.backbones, rules=p.outliers, statistics=p.statistics,
            output=snakemake.output[0],
        )  # fmt: skip
