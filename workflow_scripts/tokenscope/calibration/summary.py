"""What the counts say, as tables a reader can take in: how often wrong, and what can be seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tokenscope.calibration.counting import HOLDERS, NEAR, TOKENS, exact_interval, must_be_found

MODERATE = 0.3  # spread up to which a "no" is owed
OWED = 0.8  # of draws without a mode
FOUND = 0.95
FAR_MODES = f"{NEAR:g} spreads of the bulk away or more"
NEAR_MODES = "nearer to the bulk"
# Held out until the first count, after which what a shoulder must hold was set anew.
SEEN_ONCE = {"tokens of mixed spread"}


@dataclass(frozen=True)
class Summary:
    """A table in words: ``title``, ``note``, ``header``, ``rows`` of cells."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def read(path: str | Path) -> pd.DataFrame:
    """A table of counts; the kind ``null`` is a word there, no missing value."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def percent(hits: float, draws: float) -> str:
    """A rate with its exact interval, in percent."""
    if not draws:
        return "not drawn"
    low, high = exact_interval(int(hits), int(draws))
    return f"{_digits(hits / draws)} [{_digits(low)}, {_digits(high)}]"


def _digits(rate: float) -> str:
    """In percent, to three digits of what it is or of what it lacks of 100."""
    value = 100 * rate
    return (
        f"{value:.3g}" if value < 99 or value == 100 else f"{100 - float(f'{100 - value:.3g}'):g}"
    )


def summaries(table: pd.DataFrame) -> list[Summary]:
    """All summaries of a table of counts (:data:`tokenscope.calibration.counting.COLUMNS`)."""
    made = [
        _seen(table), _false(table), _owed(table), _power(table), _missed(table), _covered(table),
        _places(table),
    ]  # fmt: skip
    return [summary for summary in made if summary.rows]


def headline(table: pd.DataFrame) -> str:
    """One sentence for the top of the report."""
    nulls, modes = (table[table["kind"] == kind] for kind in ("null", "mode"))
    owed = modes[must_be_found(modes)]
    return (
        f"Of {nulls['draws'].sum():,} draws without a second mode it said yes in "
        f"{percent(nulls['yes'].sum(), nulls['draws'].sum())} %; of {owed['draws'].sum():,} draws "
        f"with a mode that must be found (log ratio {NEAR:g} spreads of the bulk or more, "
        f"{TOKENS} tokens in {HOLDERS} images or more) it said yes in "
        f"{percent(owed['yes'].sum(), owed['draws'].sum())} %."
    )


def wrong(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """By the answer that was wrong: how often, of how many draws that it would be wrong of.

    ``yes`` is wrong without a second mode, ``no`` with one that must be found.
    """
    nulls, modes = (table[table["kind"] == kind] for kind in ("null", "mode"))
    owed = modes[must_be_found(modes)]
    return {
        answer: (int(part[answer].sum()), int(part["draws"].sum()))
        for answer, part in (("yes", nulls), ("no", owed))
    }


def seen_with(table: pd.DataFrame, images: int) -> str:
    """What is seen with so many images, in a sentence; of the sizes counted the next smaller."""
    modes = table[(table["kind"] == "mode") & (table["every"] == 1) & (table["family"] == "narrow")]
    sizes = modes[modes["images"] <= images]["images"]
    if not len(sizes):
        return f"Of {images:,} images nothing was counted."
    modes = modes[modes["images"] == sizes.max()]
    modes = modes[modes["patches"] == modes["patches"].min()]
    patches, parts = modes["patches"].iloc[0], []
    for spread, part in modes.groupby("spread"):
        found = part[part["yes"] >= FOUND * part["draws"]]
        least = found[found["share"] == found["share"].min()]["ratio"].min()
        what = f"{found['share'].min():g} % of tokens from {least:g} x median on"
        parts.append(f"{what if len(found) else 'nothing'} where log-norms spread by {spread:g}")
    missed = _no_by_distance(
        table[(table["images"] == sizes.max()) & (table["patches"] == patches)]
    )
    said = ", ".join(f"those {where} in {percent(*counts)} %" for where, counts in missed.items())
    return (
        f"With {sizes.max():,} images of {patches:,.0f} patches it sees, of narrow modes that are "
        f"in every image, {'; '.join(parts)}. Modes of every kind counted at this size are "
        f"answered no: {said}. A no names the ratio from which on it holds, so that nearer modes "
        "are open."
    )


def _no_by_distance(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """How often no was said, and of how many draws, of modes far from the bulk and of nearer."""
    modes = table[table["kind"] == "mode"]
    far = np.log(modes["ratio"]) >= NEAR * modes["spread"]
    parts = {FAR_MODES: modes[far], NEAR_MODES: modes[~far]}
    return {
        where: (int(part["no"].sum()), int(part["draws"].sum()))
        for where, part in parts.items()
        if len(part)
    }


def _size(row) -> str:
    return f"{row['images']:,.0f} x {row['patches']:,.0f}"


def _each(table: pd.DataFrame, columns: list[str]):
    return table.groupby(columns, sort=False, dropna=False)


def _false(table: pd.DataFrame) -> Summary:
    rows, nulls = [], table[table["kind"] == "null"]
    for (family, held_out), part in _each(nulls, ["family", "held_out"]):
        by_cell = [exact_interval(int(y), int(d))[0] for y, d in zip(part["yes"], part["draws"], strict=True)]  # noqa: E501 # fmt: skip
        worst = part.iloc[int(np.argmax(part["yes"] / part["draws"]))]
        rows.append([
            family, ("held out once" if family in SEEN_ONCE else "held out") if held_out else "",
            f"{part['draws'].sum():,}",
            percent(part["yes"].sum(), part["draws"].sum()),
            f"{percent(worst['yes'], worst['draws'])} ({_size(worst)}, spread {worst['spread']:g})",
            "yes" if max(by_cell) > 0.05 else "no",
        ])  # fmt: skip
    return Summary(
        "Says yes where there is no second mode",
        "In percent of draws, with exact 95 % bounds; at most 5 % are promised.",
        [
            "norms drawn from",
            "",
            "draws",
            "yes",
            "worst cell",
            "over 5 % anywhere, with 95 % confidence",
        ],
        rows,
    )


def _owed(table: pd.DataFrame) -> Summary:
    rows = []
    nulls = table[(table["kind"] == "null") & (table["spread"] <= MODERATE)]
    for (images, patches), part in _each(nulls, ["images", "patches"]):
        rates = part["no"] / part["draws"]
        rows.append([
            f"{images:,} x {patches:,}", percent(part["no"].sum(), part["draws"].sum()),
            f"{100 * rates.min():.3g} ({part.iloc[int(rates.argmin())]['family']})",
            "yes" if (rates >= OWED).all() else "no",
        ])  # fmt: skip
    return Summary(
        "Says no where there is none (spread of log-norms 0.3 or less)",
        "With too few images the answer is cannot tell; the first line with yes is the smallest "
        "number of images at which a no can be had.",
        ["images x patches", "no (% of draws)", "rarest in", "80 % or more in every cell"],
        rows,
    )


def _power(table: pd.DataFrame) -> Summary:
    rows, modes = [], table[table["kind"] == "mode"]
    owed = modes[must_be_found(modes)]
    for (family, held_out, images, patches, every), part in _each(
        owed, ["family", "held_out", "images", "patches", "every"]
    ):
        rates = part["yes"] / part["draws"]
        worst = part.iloc[int(rates.argmin())]
        rows.append([
            f"{family}{' (held out)' if held_out else ''}", f"{images:,} x {patches:,}",
            f"1 in {every:.0f}", str(len(part)), percent(part["yes"].sum(), part["draws"].sum()),
            f"{percent(worst['yes'], worst['draws'])} ({_cell(worst)})",
            f"{(rates >= FOUND).sum()} of {len(part)}",
        ])  # fmt: skip
    return Summary(
        "Finds a mode that must be found",
        f"log(ratio) of {NEAR:g} spreads of the bulk or more, {TOKENS} tokens or more expected, in "
        f"{HOLDERS} images or more.",
        ["mode", "images x patches", "images with it", "cells", "yes (%)", "worst cell",
         "cells with 95 % or more"], rows,
    )  # fmt: skip


def _cell(row) -> str:
    return f"{row['share']:g} % at {row['ratio']:g} x, spread {row['spread']:g}"


def _missed(table: pd.DataFrame) -> Summary:
    """No where there is a mode, of those far enough to be decided and of all."""
    rows, modes = [], table[table["kind"] == "mode"]
    far = np.log(modes["ratio"]) >= NEAR * modes["spread"]
    for where, chosen in ((FAR_MODES, far), (NEAR_MODES, ~far)):
        for (images, patches), part in _each(modes[chosen], ["images", "patches"]):
            rates = part["no"] / part["draws"]
            most = part.iloc[int(rates.argmax())]
            where_in = "every image" if most["every"] == 1 else f"1 image of {most['every']:.0f}"
            which = f"{most['family']} in {where_in}, {_cell(most)}"
            rows.append([
                where, f"{images:,} x {patches:,}", percent(part["no"].sum(), part["draws"].sum()),
                f"{100 * rates.max():.3g} ({which})",
                f"{(rates > 0.05).sum()} of {len(part)}",
            ])  # fmt: skip
    return Summary(
        "Says no where there is a mode",
        "Modes of every kind: narrow or half as wide as the bulk, in every image or in few. A no "
        "always names the ratio from which on it holds; about a nearer mode it says nothing.",
        ["modes", "images x patches", "no (%)", "most in", "cells over 5 %"],
        rows,
    )


def _covered(table: pd.DataFrame) -> Summary:
    rows = []
    modes = table[(table["kind"] == "mode") & (np.log(table["ratio"]) >= NEAR * table["spread"])]
    boots = table[table["kind"] == "interval"]
    parts = [
        *((f"share of outliers, mode {name}", *rest) for name, *rest in _by_images(modes)),
        *_by_images(boots),
    ]
    for name, images, part in parts:
        if part["intervals"].sum():
            covered = percent(part["covered"].sum(), part["intervals"].sum())
            rows.append([name, f"{images:,}", f"{part['intervals'].sum():,.0f}", covered])
    return Summary(
        "95 % intervals that hold the truth",
        "In percent of intervals.",
        ["interval of", "images", "intervals", "covered (%)"],
        rows,
    )


def _by_images(table: pd.DataFrame):
    return [(*key, part) for key, part in _each(table, ["family", "images"])]


def _places(table: pd.DataFrame) -> Summary:
    rows = [
        [row["family"], f"{row['images']:,}", f"{row['draws']:,}",
         *(percent(row[answer], row["draws"]) for answer in ("yes", "no", "cannot_tell"))]
        for _, row in table[table["kind"] == "place or content"].iterrows()
    ]  # fmt: skip
    return Summary(
        "Place or content",
        "In percent of draws.",
        ["outliers follow", "images", "draws", "position", "content", "cannot tell"],
        rows,
    )


def _seen(table: pd.DataFrame) -> Summary:
    """The smallest share and ratio that are found, by number of images and spread of the bulk."""
    rows = []
    modes = table[(table["kind"] == "mode") & (table["every"] == 1)]
    modes = modes[modes["family"] == "narrow"]
    for (images, patches, spread), part in _each(modes, ["images", "patches", "spread"]):
        found = part[part["yes"] >= FOUND * part["draws"]]
        by_share = found.groupby("share")["ratio"].min()
        rows.append([
            f"{images:,} x {patches:,}", f"{spread:g}",
            ", ".join(f"{share:g} % from {ratio:g} x" for share, ratio in by_share.items())
            or "none of these",
        ])  # fmt: skip
    return Summary(
        "What can be seen",
        "Narrow modes that are in every image, found in 95 % of draws or more, by the spread of "
        "the bulk's log-norms: of each share the smallest ratio tried.",
        ["images x patches", "spread", "smallest modes found"], rows,
    )  # fmt: skip


KINDS_HEADER = [
    "kind", "images", "wrong yes, without it (%)", "yes / no, about at the bound (%)",
    "wrong no, with twice the bound (%)", "found, with twice the bound (%)",
]  # fmt: skip
KINDS_TITLE = "How often these answers are wrong"
KINDS_NOTE = (
    "Counted on draws whose answer is known, with exact 95 % bounds (make calibrate-kinds; high "
    "norms are counted in the section Error rates). Promised is at most 5 % of wrong yes without "
    "the effect and of wrong no with twice the bound. About at the bound nothing is promised: the "
    "effect is the bound's on average, cannot tell is best, and yes or no is said of {decided}. "
    "Of the shift test, without it: "
    "outliers are drawn anew in each window; at the bound half of the images keep them in place, "
    "with twice the bound two of three. Of point in box: the patch lies in a box one and a half "
    "times as often as by chance, then as often, then half as often."
)


def kinds(table: pd.DataFrame) -> Summary:
    """Error rates of the kinds' answers, from their counts
    (:data:`tokenscope.calibration.kinds.COLUMNS`, then ``code``)."""
    rows = []
    for (kind, images), part in _each(table, ["kind", "images"]):
        by_effect = part.set_index("effect")

        def rate(effect: str, answer: str, counts=by_effect) -> str:
            return percent(counts.at[effect, answer], counts.at[effect, "draws"])

        either = (f"{100 * by_effect.at['bound', a] / by_effect.at['bound', 'draws']:.3g}"
                  for a in ("yes", "no"))  # fmt: skip
        rows.append([
            kind, f"{images:,}", rate("none", "yes"), " / ".join(either), rate("twice", "no"),
            rate("twice", "yes"),
        ])  # fmt: skip
    at = table[table["effect"] == "bound"]
    often = (at[["yes", "no"]].max(axis=1) / at["draws"]).groupby(at["kind"], sort=False).max()
    over = [f"{kind} (up to {100 * rate:.3g} %)" for kind, rate in often.items() if rate > 0.05]
    decided = f"some kinds in more than 5 % of draws: {', '.join(over)}" if over else "none in 5 %"
    return Summary(KINDS_TITLE, KINDS_NOTE.format(decided=decided), KINDS_HEADER, rows)
