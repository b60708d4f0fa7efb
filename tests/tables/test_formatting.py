"""Numbers as readers see them: digits, units and intervals, the same wherever they are printed."""

from pathlib import Path

from tokenscope.report import template_data
from tokenscope.report.partial_tables import Read
from tokenscope.tables import tidy
from tokenscope.tables.names import of_training, over_seeds
from tokenscope.tables.published import Published

PUBLISHED = Published(Path("config/published.csv"))
WHO = {"family": "vit", "size": "tiny", "registers": "r0", "kind": "none", "dataset": "set"}


def shown(*rows):
    """Rows (group, metric, value, low, high, unit, n) as the report shows them."""
    table = tidy.TidyRows(WHO, 400, 0)
    for group, metric, value, low, high, unit, n in rows:
        table.add("training", group, metric, value, low, high, unit, n)
    read = Read(table.frame(), [], [], True)
    return template_data.table("training", {}, read, PUBLISHED)["rows"]


def test_images_are_counted_where_n_is_images():
    after = of_training("after", "artifacts")
    images, seeds = shown((after, "share", 0, 0, 0.75, "percent", 400),
                          (over_seeds(after), "share", 0, 0, 0, "percent", 2))  # fmt: skip
    assert images["interval"] == "[0.00, 0.75] in 0 of 400 images"
    assert seeds["interval"] == ""
