"""The table of trainings: every backbone trained here before and after, and means over seeds."""

import pandas as pd

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy
from tokenscope.tables.rests_on import of_receipts, page_end, sentence
from tokenscope.tables.tidy import BACKBONE_COLUMNS
from tokenscope.training.emergence import outliers_from
from tokenscope.training.page import page
from tokenscope.training.summary import training_table


def main(backbones, measures, emergence, published, outliers, confidence, outputs):
    """Write the tidy table (with the settings of each training), its page, and all curves.

    Args:
        backbones: for each training: ``key``, ``kind``, ``card``, ``history``, ``base``, settings.
        measures: by backbone, trained or base, the rows of rule norms on every data set.
        emergence: rows of rule emergence.
        published: figures of the papers, ``config/published.csv``.
        outliers: the section of that name of the config.
        confidence: of intervals over seeds, e.g. 0.95.
        outputs: paths of ``csv``, ``text``, ``histories`` and ``emergence``.
    """
    trainings = [
        {**b, "card": read_receipt(b["card"]), "history": pd.read_csv(b["history"])}
        for b in backbones
    ]
    steps = [tidy.read(path) for path in emergence]
    emerged = pd.concat(steps) if steps else pd.DataFrame(columns=[*tidy.COLUMNS, "step", "block"])
    by_key = dict(list(emerged.groupby(tidy.backbone_names(emerged)))) if steps else {}
    for training in trainings:
        if (rows := by_key.get(training["key"])) is not None:
            training["outliers_from"] = {
                dataset: outliers_from(
                    own, training["card"]["updates"], outliers["times_median"],
                    outliers["min_share"],
                )
                for dataset, own in rows.groupby("dataset")
            }  # fmt: skip
    tables = {key: pd.concat(map(tidy.read, files)) for key, files in measures.items()}
    table = training_table(trainings, tables, confidence)
    tidy.write(table, outputs["csv"])
    with open(outputs["text"], "w") as handle:
        rests = sentence(of_receipts(b["card"] for b in backbones))
        handle.write("\n".join([page(table, pd.read_csv(published)), *page_end(rests)]))
    curves = [
        training["history"].assign(**tidy.columns_of(training["key"])) for training in trainings
    ]
    tidy.write(
        pd.concat(curves) if curves else pd.DataFrame(columns=BACKBONE_COLUMNS),
        outputs["histories"],
    )
    tidy.write(emerged, outputs["emergence"])


if "snakemake" in globals():
    with job(snakemake.log[0], "table training"):
        p, i = snakemake.params, snakemake.input
        main(
            backbones=p.backbones,
            measures=p.measures,
            emergence=i.emergence,
            published=i.published,
            outliers=p.outliers,
            confidence=p.confidence,
            outputs=dict(snakemake.output.items()),
        )
