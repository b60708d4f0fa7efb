"""Registers by their number: artifacts, accuracy and cost, one line a count, over seeds.

The table that small ViTs are trained for (Darcet et al. 2024, Figure 8,
https://arxiv.org/abs/2309.16588; bach-2025, tmlr-4353). A count is compared with none seed by seed,
and the answer rests on Student's interval over seeds, not on one training's images.
"""

import pandas as pd

from tokenscope.norms.outlier_rule import share_metric
from tokenscope.study.recipes import stem
from tokenscope.study.register_names import register_count
from tokenscope.tables import names, tidy
from tokenscope.tables.names import AFTER, minus_r0, of_training, over_seeds

WHO = ["trained", "size", "kind", "dataset"]
COSTS = ("parameters_overhead", "flops_overhead", "time_overhead")
MORE, LESS, UNSURE = "more", "less", "cannot tell"
NOTE = (
    "Each line is one number of registers, over trainings that differ in their seed alone. "
    "artifacts: how many of them have artifacts by the decision of claim 1. outliers: tokens over "
    "the multiple of the median. Differences are from the training without registers of the same "
    "seed; brackets are Student's intervals over seeds, uncorrected for the number of lines, those "
    "of shares and accuracies within 0 and 100 %; with "
    "fewer seeds than verdicts ask for nothing is decided. Costs as in tables/overhead.md, of this "
    "architecture, time of a forward pass on the machine that ran it."
)


def register_counts(
    training: pd.DataFrame, costs: dict[str, pd.DataFrame], times: float, seeds: int
) -> pd.DataFrame:
    """A line for each recipe with its settings, size, data set and number of registers.

    Args:
        training: of :func:`tokenscope.training.summary.training_table`.
        costs: rows of rule overhead of the same architecture, by backbone (family/size/registers).
        times: outliers have a norm over so many medians.
        seeds: fewest that decide whether registers change anything.

    Returns:
        columns :data:`WHO`, ``registers``, ``seeds``, ``with_artifacts``, ``judged``; value, low
        and high of ``outliers`` (percent), ``top1`` (percent) and of both less none (points);
        ``changes_outliers``, ``changes_top1``; :data:`COSTS` in percent.
    """
    after = training[training["group"].str.startswith(of_training(AFTER))]
    after = after.assign(
        trained=after["family"].map(stem), count=after["registers"].map(register_count)
    )
    outliers, lines = share_metric(times), []
    for (*who, count), rows in after.groupby([*WHO, "count"], sort=False):
        single = rows[~rows["group"].map(names.is_over_seeds)]
        judged = _values(single, "artifacts", "has_artifacts")
        line = dict(zip(WHO, who, strict=True)) | {
            "registers": int(count), "seeds": int(single["training_seed"].nunique()),
            "with_artifacts": int((judged == 1).sum()), "judged": int(judged.notna().sum()),
        }  # fmt: skip
        for name, group, metric in (
            ("outliers", "last_block", outliers), ("top1", "own_head", "top1")
        ):  # fmt: skip
            line |= _number(rows, group, metric, name)
            line |= _number(rows, group, minus_r0(metric), f"{name}_minus_r0")
            line[f"changes_{name}"] = _answer(line, f"{name}_minus_r0", seeds)
        line |= _costs(single, costs, int(count))
        lines.append(line)
    table = pd.DataFrame(lines)
    return table.sort_values([*WHO, "registers"], kind="stable") if len(table) else table


def _values(rows: pd.DataFrame, group: str, metric: str) -> pd.Series:
    return rows.loc[
        rows["group"].eq(of_training(AFTER, group)) & rows["metric"].eq(metric), "value"
    ]


def _number(rows: pd.DataFrame, group: str, metric: str, name: str) -> dict[str, float]:
    """Mean over seeds with its interval; of one training its own value, without one."""
    named = of_training(AFTER, group)
    own = rows[rows["metric"] == metric]
    mean = own[own["group"] == over_seeds(named)]
    if len(mean):
        row = mean.iloc[0]
        return {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    alone = own.loc[own["group"] == named, "value"]
    value = float(alone.iloc[0]) if len(alone) == 1 else float("nan")
    return {name: value, f"{name}_low": float("nan"), f"{name}_high": float("nan")}


def _answer(line: dict, name: str, seeds: int) -> str:
    if line["registers"] == 0:
        return ""
    low, high = line[f"{name}_low"], line[f"{name}_high"]
    if line["seeds"] < seeds:
        return f"{UNSURE}: {line['seeds']} of {seeds} seeds"
    return MORE if low > 0 else LESS if high < 0 else UNSURE


def _costs(single: pd.DataFrame, costs: dict[str, pd.DataFrame], count: int) -> dict[str, float]:
    table = costs.get(tidy.backbone_names(single).iloc[0])
    found = dict.fromkeys(COSTS, float("nan"))
    if table is None:
        return found
    own = table[table["registers"] == f"r{count}"]
    counted = own[own["group"].eq("counted") | own["group"].str.startswith("forward")]
    for metric in COSTS:
        values = counted.loc[counted["metric"] == metric, "value"]
        found[metric] = float(values.iloc[0]) if len(values) else float("nan")
    return found


HEADER = [
    "trained", "on", "registers", "seeds", "artifacts", "outliers (%)", "minus r0 (points)",
    "outliers change", "top-1 (%)", "minus r0 (points)", "top-1 changes", "parameters", "FLOPs",
    "time",
]  # fmt: skip


def lines(table: pd.DataFrame) -> list[list[str]]:
    """The same as text, in the columns :data:`HEADER`."""
    return [_line(row) for row in table.to_dict("records")]


def _line(row: dict) -> list[str]:
    artifacts = f"{row['with_artifacts']} of {row['judged']}"
    if undecided := row["seeds"] - row["judged"]:
        artifacts += f", {undecided} cannot tell"
    cells = [f"{row['trained']} {row['size']} {row['kind']}", row["dataset"]]
    cells += [str(row["registers"]), str(row["seeds"]), artifacts]
    for name in ("outliers", "top1"):
        cells += [_text(row, name), _text(row, f"{name}_minus_r0", "+")]
        cells.append(row[f"changes_{name}"] or "")
    added = [row[cost] if row["registers"] else float("nan") for cost in COSTS]  # by none, nothing
    return cells + [f"{cost:+.2f} %" if cost == cost else "" for cost in added]


def _text(row: dict, name: str, sign: str = "") -> str:
    if row[name] != row[name]:
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = f" [{low:{sign}.2f}, {high:{sign}.2f}]" if low < high else ""  # equal: nothing varied
    return f"{row[name]:{sign}.2f}{ends}"


def read(path: str) -> pd.DataFrame:
    """The table as rule register_counts wrote it."""
    answers = ["changes_outliers", "changes_top1"]
    return pd.read_csv(path).fillna(dict.fromkeys(answers, ""))


def page(table: pd.DataFrame) -> str:
    """The table as Markdown."""
    text = ["# Registers by their number", "", NOTE, ""]
    text += [f"| {' | '.join(HEADER)} |", "|" + "-|" * len(HEADER)]
    text += [f"| {' | '.join(cells)} |" for cells in lines(table)]
    return "\n".join([*text, ""])
