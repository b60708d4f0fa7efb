"""Figures of a study of 51 backbones, made up: they can be printed, and show what they must."""

import numpy as np
import pandas as pd
import pytest
from classification import fig_gains
from kinds import fig_kinds
from norms import fig_attention_norms, fig_cosine, fig_norms
from printable import problems
from probes import fig_probe_tables
from report import fig_published
from training import fig_register_counts

from tokenscope.figures import pages, style
from tokenscope.figures.outlier_shares import spread
from tokenscope.kinds.answers import KINDS, NO, NOT_ABOUT, UNDECIDED, YES
from tokenscope.norms.attention_maps import joint
from tokenscope.tables import tidy

RULES = {"times_median": 3, "percentile": 98, "absolute": 150, "min_share": 0.1}
SIZES = ["tiny", "small", "base", "large", "huge", "giant", "so150m"]
FAMILIES = ["dinov2", "deit3-in22k", "openclip", "dino", "augreg", "siglip", "sbb-mediumd-in12k"]
ROWS = [
    {"family": family, "size": size, "registers": "r4" if number % 3 == 2 else "r0",
     "kind": "trained" if number % 3 == 2 else "none", "dataset": "imagenet-val"}
    for number, (family, size) in enumerate(
        [(family, size) for family in FAMILIES for size in SIZES] + [("vit", s) for s in SIZES[:2]]
    )
]  # fmt: skip
HAVE = [number % 2 == 0 for number in range(len(ROWS))]  # outliers
BLOCKS = 6


@pytest.fixture
def drawn(monkeypatch):
    """Figures as they are saved, by the path of their first file; nothing is written."""
    figures = {}
    monkeypatch.setattr(style, "save", lambda figure, outputs: figures.update({outputs[0]: figure}))
    yield figures
    style.plt.close("all")


def check(figures):
    """First pages alone: the others are drawn by the same lines."""
    first = {name: figure for name, figure in figures.items() if "/page" not in name}
    found = {name: problems(figure) for name, figure in first.items()}
    assert {name: said for name, said in found.items() if said} == {}


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(style.plt.Text))


def files(name, count=1, per_page=20):
    return [f"{page}.png" for page in pages.paths(name, count, per_page)]


def table(rows, folder, name):
    """Tidy rows of (who, claim, group, metric, value, low, high, unit) as a file."""
    made = [
        {**who, "claim": claim, "group": group, "metric": metric, "value": value, "low": low,
         "high": high, "n": 400, "seed": 0, "unit": unit}
        for who, claim, group, metric, value, low, high, unit in rows
    ]  # fmt: skip
    path = folder / f"{name}.csv"
    pd.DataFrame(made, columns=tidy.COLUMNS).to_csv(path, index=False)
    return path


def claims(folder):
    """Tables of claims 1 and 2: outliers, 4 % of the tokens at ten medians, from block 4 on."""
    one, two = [], []
    for who, has in zip(ROWS, HAVE, strict=True):
        last, share = "artifacts-last_block", "share_norm_over_3x_median"
        one += [
            (who, "claim1", last, "has_artifacts", float(has), np.nan, np.nan, "verdict"),
            (who, "claim1", last, "share", 4.0 * has, 3.0 * has, 5.0 if has else 0.75, "percent"),
            (who, "claim1", last, "cutoff", 4.0 if has else np.nan, np.nan, np.nan, ""),
            (who, "claim1", "last_block", share, 4.0 * has, 3.0 * has, 5.0 * has, "percent"),
            (who, "claim1", "last_block", "norm_p98", 20.0, 19.0, 21.0, ""),
            (who, "claim1", "artifacts", "onset_block", 4.0 if has else np.nan, 4, 4, ""),
            (who, "claim1", "outlier", "position_entropy", 0.7 if has else np.nan, 0, 1, ""),
        ]
        for block in range(1, BLOCKS + 1):
            value = 4.0 * (has and block >= 4)
            two.append((who, "claim2", f"block{block}", share, value, value / 2, value * 1.5 + 0.5,
                        "percent"))  # fmt: skip
    return table(one, folder, "claim1"), table(two, folder, "claim2")


def curves(folder):
    """Densities by block on a grid of log norms, and places in which outliers are always."""
    norms = 10 ** np.arange(0.3, 2.3, 0.04)
    parts, places = [], []
    for who, has in zip(ROWS, HAVE, strict=True):
        for block in range(1, BLOCKS + 1):
            median = 5.0 + block
            density = np.exp(-((np.log10(norms / median) / 0.1) ** 2)) * 5
            density[density < 1e-3] = 0
            if has and block >= 4:
                density[np.searchsorted(norms, 10 * median)] = 2.0
            parts.append(pd.DataFrame({**who, "block": block, "norm": norms, "density": density,
                                       "low": 0.9 * density, "high": 1.1 * density,
                                       "median": median}))  # fmt: skip
        grid = np.indices((8, 8)).reshape(2, -1)
        often = 100.0 * has * (grid[0] == 0)
        places.append(pd.DataFrame({**who, "row": grid[0], "column": grid[1], "judged": often}))
    backbones = pd.DataFrame(ROWS)
    backbones["params"] = [1e6 * 4 ** SIZES.index(who["size"]) for who in ROWS]
    named = {"curves": parts, "places": places, "backbones": [backbones]}
    for name, tables in named.items():
        pd.concat(tables).to_csv(folder / f"{name}.csv", index=False)
    return {name: folder / f"{name}.csv" for name in named}


def test_norms_of_51_backbones_are_paged_and_their_outliers_seen(tmp_path, drawn):
    (claim1, claim2), made = claims(tmp_path), curves(tmp_path)
    outputs = {n: files(n) for n in ("paper", "depth", "size", "places")}
    outputs |= {n: files(n, len(ROWS)) for n in ("last", "blocks")}
    outputs |= {"two": files("two", len(ROWS), 24)}
    paper = ["dinov2/tiny/r0", "dinov2/small/r0"]
    fig_norms.main(
        made["curves"], made["places"], claim1, claim2, made["backbones"], "imagenet-val", paper,
        RULES, outputs,
    )  # fmt: skip
    assert len(outputs["last"]) == len(outputs["blocks"]) == 3 and len(drawn) == 13
    check(drawn)
    of_pages = [len(drawn[page].get_axes()) for page in outputs["last"]]
    assert of_pages == [17, 17, 17]  # even pages, one panel a backbone
    first = drawn["paper.png"].get_axes()
    assert first[0].get_xlim() == first[1].get_xlim()  # the comparison is the point
    # What is over the cutoff is drawn in red and high enough to be seen, with room above it.
    panel = drawn["blocks.png"].get_axes()[0]
    reds = [c for c in panel.collections if np.allclose(c.get_facecolor()[:, :3],
            style.matplotlib.colors.to_rgb(style.OUTLIER))]  # fmt: skip
    assert len(reds) == 3  # blocks 4 to 6
    ends = [c.get_paths()[0].get_extents() for c in reds]
    assert all(np.log(e.y1 / e.y0) > 0.04 * np.log(panel.get_ylim()[1] / panel.get_ylim()[0])
               for e in ends)  # fmt: skip
    assert panel.get_ylim()[1] > 1.2 * max(e.y1 for e in ends)
    # The interval is the decision's, whatever it says, and not that of a multiple of the median.
    titles = [axis.get_title() for axis in drawn["last.png"].get_axes()]
    assert any("artifacts: 4.00 % [3.00, 5.00]" in title for title in titles)
    assert any("none: 0.00 % [0.00, 0.75]" in title for title in titles)
    # Backbones without outliers are named, not drawn over each other at zero.
    depth = drawn["depth.png"]
    assert len(depth.get_axes()) == 8
    assert sum(len(axis.lines) - 1 for axis in depth.get_axes()) == sum(HAVE)
    assert "none in any block" in words(depth).replace("\n", " ")
    places = drawn["places.png"]
    assert sum(len(axis.images) for axis in places.get_axes()) == sum(HAVE)
    assert "openclip/tiny/r0" in places.get_label() or "None anywhere" in places.get_label()
    assert "98th percentile" in drawn["paper.png"].get_label()


def test_lines_are_told_apart_and_none_is_yellow():
    looks = [look for look, _ in zip(style.lines(), range(28), strict=False)]
    assert len({(look["color"], look["ls"]) for look in looks}) == 28
    assert style.YELLOW not in style.PALETTE


def test_attention_and_norm_of_a_constructed_backbone(tmp_path, drawn):
    rng = np.random.default_rng(0)
    norms = rng.lognormal(2, 0.1, (50, 100))
    attention = rng.uniform(0.8, 1.2, (50, 100))
    norms[:, :2] *= 10
    attention[:, 0] *= 20  # of two outliers an image, one is looked at
    claim1, _ = claims(tmp_path)
    cells = joint(norms, attention)
    parts = [pd.DataFrame({**who, **cells}) for who in ROWS[:24]]
    parts = pd.concat(parts)
    one = parts[parts["family"].eq("dinov2") & parts["size"].eq("tiny")]
    assert one["share"].sum() == pytest.approx(100)
    assert one.loc[one["norm"] > 3, "share"].sum() == pytest.approx(2)
    parts.to_csv(tmp_path / "joint.csv", index=False)
    outputs = files("joint", 24)
    fig_attention_norms.main(tmp_path / "joint.csv", claim1, "imagenet-val", RULES, outputs)
    assert len(drawn) == 2
    check(drawn)
    assert "50 % of outliers peak" in words(drawn["joint.png"])


def test_tables_1_to_3_as_dots_have_published_crosses(tmp_path, drawn):
    rows = []
    for who in ROWS:
        for group, add in (("normal", 0.0), ("outlier", 5.0), ("cls", 9.0)):
            rows.append((who, "claim4", group, "class_top1", 50 + add, 49 + add, 51 + add,
                         "percent"))  # fmt: skip
            if group != "cls":
                rows.append((who, "claim4", group, "position_top1", 20 - add, 18.0, 22.0,
                             "percent"))  # fmt: skip
    claim4 = table(rows, tmp_path, "claim4")
    outputs = files("dots", len(ROWS))
    fig_probe_tables.main(claim4, "config/published.csv", "imagenet-val", outputs)
    check(drawn)
    classes = drawn["dots.png"].get_axes()[3]
    crosses = [line for line in classes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    # DINOv2-S and OpenCLIP-B; the paper has the class accuracy of their three groups of tokens.
    assert {round(float(line.get_ydata()[0])) for line in crosses} == {1, 16}
    published = pd.read_csv("config/published.csv")
    theirs = published[published["item"].eq("table3")]["value"]
    assert {float(line.get_xdata()[0]) for line in crosses} <= set(theirs)
    assert len(crosses) == 6


def test_published_against_ours_names_what_is_missing(tmp_path, drawn):
    who = {**ROWS[1], "registers": "r0"}  # dinov2/small/r0
    rows = [(who, "claim4", "normal", "position_top1", 27.0, 26.0, 28.0, "percent")]
    measured = table(rows, tmp_path, "claim4")
    nothing = table([], tmp_path, "nothing")
    fig_published.main([measured], "config/published.csv", ["some.png"])
    fig_published.main([nothing], "config/published.csv", ["none.png"])
    check(drawn)
    points = [
        line for line in drawn["some.png"].get_axes()[0].lines
        if line.get_marker() == "o" and len(line.get_xdata())
    ]  # fmt: skip
    assert [(float(p.get_xdata()[0]), float(p.get_ydata()[0])) for p in points] == [(28.05, 27.0)]
    assert "1 of" in drawn["some.png"].get_label()
    assert "none of" in words(drawn["none.png"]).replace("\n", " ")


def test_backbones_of_about_one_size_stand_apart():
    sizes = np.array([0.7, 0.7, 0.7004, 5.0])
    placed = spread(sizes)
    assert np.all(placed[1:] >= 1.0349 * placed[:-1]) and placed[3] == pytest.approx(5)
    assert placed[1] == pytest.approx(np.prod(sizes[:3]) ** (1 / 3))
    assert spread(np.array([1.0, 2.0, 3.0])) == pytest.approx([1, 2, 3])


def test_counts_of_registers_say_what_was_not_measured(tmp_path, drawn):
    counts = pd.DataFrame(
        {"trained": "deit3-scratch", "size": "small", "kind": "scratch", "dataset": "d",
         "registers": [0, 1, 4, 16], "seeds": 3, "outliers": [4.0, 1.0, 0.0, 0.0],
         "outliers_low": 0.0, "outliers_high": 40.0, "top1": [80.0, 80.5, 81.0, 80.8],
         "top1_low": 10.0, "top1_high": 120.0, "flops_overhead": np.nan}
    )  # fmt: skip
    counts.to_csv(tmp_path / "counts.csv", index=False)
    fig_register_counts.main(tmp_path / "counts.csv", "d", 3, ["counts.png"])
    check(drawn)
    outliers, top1, cost = drawn["counts.png"].get_axes()
    assert outliers.get_ylim()[1] <= 12 and 75 < top1.get_ylim()[0] < top1.get_ylim()[1] < 90
    assert "not measured" in [text.get_text() for text in cost.texts]


def test_the_matrix_of_kinds_fits_a_page(tmp_path, drawn):
    answers, rows = [YES, NO, UNDECIDED, NOT_ABOUT], []
    for number, who in enumerate(ROWS):
        for place, kind in enumerate(KINDS):
            rows.append({**who, "claim": "kinds", "group": kind, "metric": "share", "value": 4.25,
                         "low": 4.0, "high": 5.0, "n": 80, "seed": 0, "unit": "percent",
                         "artifact": kind, "block": 6, "null": np.nan,
                         "answer": answers[(number + place) % 4], "why": ""})  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "kinds.csv", index=False)
    names = ("matrix", "experiments", *fig_kinds.BLOCKS)
    fig_kinds.main(tmp_path / "kinds.csv", {name: files(name) for name in names})
    check(drawn)
    assert len(drawn["matrix.png"].get_axes()[0].patches) == len(ROWS) * len(KINDS)


def test_what_is_too_small_for_a_bar_is_written(tmp_path, drawn):
    shown = {"outliers_with_place": 40.0, "outliers_with_content": 100.0, "outliers_neither": 0.0}
    rows = [
        {**ROWS[0], "claim": "kinds", "group": "shift", "metric": metric, "value": value,
         "low": value, "high": value, "n": 80, "seed": 0, "unit": "percent", "artifact": "shift",
         "block": 6, "null": np.nan, "answer": "", "why": ""}
        for metric, value in shown.items()
    ]  # fmt: skip
    fig_kinds.experiments(pd.DataFrame(rows), None, files("experiments"))
    (axis,) = drawn["experiments.png"].get_axes()
    assert [text.get_text() for text in axis.texts if text.get_text()] == ["0"]


def test_gains_of_many_heads_are_paged_and_an_empty_page_says_so(tmp_path, drawn):
    rows = [
        (who, "claim5", head, "top1_gain_over_r0", 0.5, 0.2, 0.8, "points")
        for who in ROWS if who["registers"] == "r4"
        for head in ("published_head", "cls", "cls+patch_mean", "knn_cls", "knn_patch_mean")
    ]  # fmt: skip
    outputs = [files("four", 51, 8), files("five", 51, 8)]
    fig_gains.main(table(rows, tmp_path, "claim5"), "config/published.csv", "imagenet-val", outputs)
    assert len(drawn) == len(outputs[0]) + len(outputs[1])
    check(drawn)
    assert "nearest neighbours of CLS" in words(drawn["four.png"])
    assert "no such pair" in words(drawn["five.png"]).replace("\n", " ")


def test_cosines_are_smooth_and_on_one_linear_scale(tmp_path, drawn):
    cosine = np.arange(-0.99, 1, 0.02)
    parts = []
    for who in ROWS[:5]:
        for group in ("outlier", "normal", "ratio"):
            density = np.full(len(cosine), 0.5)
            density[::3] = 0.0 if group == "outlier" else 0.5  # as a saw of few tokens
            parts.append(pd.DataFrame({**who, "rule": "percentile", "pooling": "pair",
                                       "group": group, "cosine": cosine, "density": density,
                                       "low": 0.9 * density, "high": 1.1 * density}))  # fmt: skip
    pd.concat(parts).to_csv(tmp_path / "cosine.csv", index=False)
    ratio = [(who, "claim3", "outlier/normal", "redundant_region_ratio", 2.0, 1.5, 2.5, "ratio")
             for who in ROWS[:5]]  # fmt: skip
    claim3 = table(ratio, tmp_path, "claim3")
    named = {name: files(name) for name in ("paper", "density", "ratio")}
    paper = ["dinov2/tiny/r0", "dinov2/small/r0"]
    settings = {"similarities": [0.9]}
    fig_cosine.main(tmp_path / "cosine.csv", claim3, "imagenet-val", paper, settings, named)
    check(drawn)
    axes = drawn["paper.png"].get_axes()
    assert axes[0].get_yscale() == "linear" and axes[0].get_ylim() == axes[1].get_ylim()
    outlier = axes[0].lines[0].get_ydata()
    assert np.ptp(outlier) < 0.2  # of the saw, from 0 to 0.5, nothing is left
    assert len({axis.get_ylim() for axis in drawn["ratio.png"].get_axes()}) == 1
