"""Claim 4 from a bank to its rows and Tables 1-3: numbers where there are any, words elsewhere."""

import json

import numpy as np
import pandas as pd
import pytest
from banks import World
from probes import fig_error_maps, fig_probe_norms, probe

from tokenscope.tables import tidy
from tokenscope.tables.paper_tables import printed
from tokenscope.tables.probe_tables import tables
from tokenscope.tables.published import Published

WHO = {"family": "f", "size": "s", "registers": "r0", "kind": "none", "dataset": "d"}
SETTINGS = {
    "tokens_per_image": 1, "seed": 0, "split": [0.6, 0.2, 0.2], "seeds": 2,
    "learning_rates": [0.01, 0.1], "epochs": 15, "patience": 15, "batch": 40, "memory_gb": 1,
    "min_tokens": 30, "min_entropy": 0.9,
}  # fmt: skip
STATISTICS = {"resamples": 100, "seed": 0, "confidence": 0.95}


def probed(world, folder, normal, outlier, absent=()):
    """Rows and figures of a constructed bank."""
    world.bank(folder, normal, outlier, absent)
    receipts = []
    for store in sorted(folder.glob("[0-9]*")):
        receipts.append(folder / f"{store.name}.json")
        receipts[-1].write_text(json.dumps({"store": str(store)}))
    out = {name: str(folder / f"{name}.csv") for name in ("rows", "places", "norms")}
    bank = {"receipts": receipts}
    probe.main(bank, WHO, False, SETTINGS, 3, STATISTICS, "cpu", folder / "partial", out)
    fig_error_maps.main(out["places"], out["rows"], "d", [folder / "maps.png"])
    fig_probe_norms.main(out["norms"], out["rows"], "d", [folder / "norms.png"])
    assert (folder / "maps.png").exists() and (folder / "norms.png").exists()
    return tidy.read(out["rows"])


def lines(rows):
    """Cells of Tables 1-3 by measure."""
    titled = tables(rows, lambda key, dataset: f"{key[3]} {key[4]} of a paper")
    cells = [line for _, lines in titled for line in lines]
    return {(c[1], i): c for i, c in enumerate(cells)}, " ".join(title for title, _ in titled)


@pytest.fixture(scope="module")
def world():
    return World()


def test_tables_say_what_the_tokens_hold(world, tmp_path):
    rows = probed(world, tmp_path, world.local(), world.image_level())
    cells, text = lines(rows)
    assert [cell[-1] for cell in cells.values()] == ["less", "less", "less", "less", "more"]
    assert all(f"Table {i}" in text for i in (1, 2, 3))
    first, last = list(cells.values())[0], list(cells.values())[-1]
    assert float(first[2].split()[0]) > 95 and first[6].startswith("commonest place: normal ")
    assert first[7] == "240 train, 80 validation, 80 test"
    assert "normal position_top1 of a paper" in first[8] and last[5].startswith("CLS ")
    by = rows.set_index(["group", "metric"])
    assert by.loc[("outlier", "position_confounded"), "value"] == 0
    over = by.loc[("normal", "share_norm_over_3x_median")]  # their norm is one median
    assert (over["value"], over["n"]) == (0, 80)
    foot = "Tokens over 3 x median among the normal ones tested: "
    published = Published("config/published.csv").rows
    assert foot + "none." in printed("table1", rows, published).footnote
    rows.loc[rows["metric"] == "share_norm_over_3x_median", "value"] = 1.25
    assert foot + "1.25 % or less (f-s)." in printed("table2", rows, published).footnote
    # One minus error over the mean patch's error, on the same tokens.
    error, plain = (
        by.loc[(group, "pixel_l2_squared"), "value"] for group in ("normal", "normal: mean patch")
    )
    explained = by.loc[("normal", "pixel_explained")]
    assert explained["value"] == pytest.approx(100 * (1 - error / plain), rel=1e-4)
    assert explained["low"] <= explained["value"] <= explained["high"]
    assert by.loc[("outlier", "pixel_explained"), "value"] < 5 < explained["low"]
    gap = by.loc[("outlier-normal", "pixel_explained")]
    assert gap["high"] < 0 and gap["unit"] == "points"


def test_positions_are_measured_beyond_what_places_give_away(tmp_path):
    """Outliers keep to four corners and their tokens know nothing: a quarter is right by chance."""
    world = World(same_places=True)
    world.place[:, [1, 3]] = world.rng.choice([0, 3, 12, 15], (400, 2))
    rows = probed(world, tmp_path, world.local(), world.image_level())
    rows = rows.set_index(["group", "metric"])
    assert rows.loc[("outlier", "position_top1"), "value"] > 15
    assert rows.loc[("outlier", "position_top1_over_prior"), "value"] < 8
    # Normal tokens of the same corners know their place, and the class less than outliers do.
    assert 60 < rows.loc[("normal_same_places", "position_top1_over_prior"), "value"] < 85
    assert rows.loc[("normal", "position_top1_over_prior"), "value"] > 80
    gap = rows.loc[("outlier-normal_same_places", "position_top1_over_prior")]
    assert gap["high"] < -50 and gap["unit"] == "points"
    assert rows.loc[("outlier-normal_same_places", "class_top1"), "low"] > 30


def test_what_the_table_rests_on(world, tmp_path):
    rows = probed(world, tmp_path, world.local(), world.image_level(), absent=range(50))
    by = rows.set_index(["group", "metric"])["value"]
    assert by["outlier", "images_with_token"] == 350
    assert by["tokens", "judged_block"] == 12 and by["tokens", "judged"] == 0
    assert by["backbone", "saw_labels"] == 0 and by["test", "other_dataset"] == 0
    assert not any("these labels" in cell[0] for cell in lines(rows)[0].values())
    rows.loc[rows["metric"] == "saw_labels", "value"] = 1.0
    names = {cell[1]: cell[0] for cell in lines(rows)[0].values()}
    assert names["squared L2 error ↓"] == "f/s/r0"
    assert names["top-1 (%) ↑"] == "f/s/r0 (trained with these labels)"  # of Table 3, the last one


def test_places_that_can_be_guessed_give_no_verdict(world, tmp_path):
    world = World()
    world.place[:, 1] = world.rng.choice([0, 3, 12, 15], 400)
    cells, _ = lines(probed(world, tmp_path, world.local(), world.local()))
    verdicts = [cell[-1] for cell in cells.values()]
    assert verdicts[:2] == ["confounded: outlier tokens crowd in few places"] * 2
    assert "confounded" not in "".join(verdicts[2:])


@pytest.mark.parametrize(
    "case, why",
    [
        ("nothing above the cutoff", "too few tokens (0)"),
        ("infinite tokens", "tokens are not finite (400)"),
        ("one class", "only one class (400)"),
        ("one image", "too few tokens (1)"),
    ],
)
def test_what_cannot_be_measured_is_said_in_the_table(case, why, tmp_path):
    world = World(images=1 if case == "one image" else 400)
    tokens, absent = world.image_level(), range(400) if case.startswith("nothing") else ()
    if case == "infinite tokens":
        tokens[7, 1, 3] = np.inf
    if case == "one class":
        world.label[:] = 2
    rows = probed(world, tmp_path, world.local(), tokens, absent)
    cells, _ = lines(rows)
    about = [c for c in cells.values() if "top-1" in c[1]]
    if case == "one class":
        about = about[1:]
    for cell in about:
        assert cell[3] == f"not measured: {why}" and cell[-1] == "not measured"
    refused = rows[rows["unit"].str.startswith("not measured")]
    assert len(refused) and refused["value"].isna().all()
    assert pd.notna(rows.drop(refused.index)["value"]).all()
