"""The table of registers by their number: artifacts, accuracy, cost."""

from tokenscope.jobs.job import job
from tokenscope.stores.receipts import write_text
from tokenscope.tables import tidy
from tokenscope.tables.rests_on import of_receipts, page_end, sentence
from tokenscope.training.register_counts import page, register_counts


def main(training, costs, cards, times, seeds, csv, text):
    """Write a line for each number of registers, over seeds.

    Args:
        training: the table of trainings (CSV).
        costs: by backbone trained here, the rows of rule overhead of its architecture (CSV).
        cards: of the backbones trained here.
        times: outliers have a norm over so many medians.
        seeds: fewest that decide whether registers change anything.
        csv: file of the table. text: page in Markdown.
    """
    read = {key: tidy.read(path) for key, path in costs.items()}
    table = register_counts(tidy.read(training), read, times, seeds)
    table.to_csv(csv, index=False, float_format="%.7g")
    write_text(text, "\n".join([page(table), *page_end(sentence(of_receipts(cards)))]))


if "snakemake" in globals():
    with job(snakemake.log[0], "table of register counts"):
        p, out = snakemake.params, snakemake.output
        main(
            training=snakemake.input.training, costs=p.costs, cards=snakemake.input.cards,
            times=p.times, seeds=p.seeds, csv=out.csv, text=out.text,
        )  # fmt: skip
