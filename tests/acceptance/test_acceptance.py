"""Promises that are kept, and faults that must be seen."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tokenscope.acceptance import energy, numerics, speed, workflow
from tokenscope.acceptance.outcome import Check, Said, as_json, as_table, tried
from tokenscope.acceptance.setting import Setting, standard
from tokenscope.errors import StudyError

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SETTING = Setting("cpu", "vit_small_patch14_reg4_dinov2", 42, 4, 2, 2, SMALL)


@pytest.mark.parametrize("name", ["repeatable", "own_head", "halving", "lost", "neurons"])
def test_kept_on_a_cpu(name):
    said = getattr(numerics, name)(SETTING)
    assert said.kept, said.text


def test_bits_that_change_are_seen(monkeypatch):
    made, inner = [], Setting.model

    def another(self, device=""):
        model = inner(self, device)
        with torch.no_grad():
            model.blocks[0].mlp.fc2.bias += 1e-6 * len(made)
        made.append(model)
        return model

    monkeypatch.setattr(Setting, "model", another)
    said = numerics.repeatable(SETTING)
    assert not said.kept and "norms" in said.text


def test_a_pass_that_keeps_its_batch_is_seen(monkeypatch):
    monkeypatch.setattr(numerics, "_refuse", lambda model, most: None)
    assert not numerics.halving(SETTING).kept


def test_distance():
    right = torch.tensor([1.0, -1.0, torch.nan])
    assert numerics.distance(right, right) == 0
    assert numerics.distance(1.1 * right, right) == pytest.approx(0.1)
    assert numerics.distance(torch.tensor([1.0, torch.nan, torch.nan]), right) == np.inf
    said = numerics.precision(SETTING)
    assert said.kept and "neighbour_cosine" in said.text


def test_each_answer_and_what_became_of_it(tmp_path):
    def breaks():
        raise StudyError("no room")

    checks = [
        Check("a", "p", lambda: Said(True, "fine")), Check("b", "p", lambda: Said(False, "1 | 2")),
        Check("c", "p", breaks), Check("d", "p", breaks, gpus=2), Check("e", "p", lambda: 1 / 0),
    ]  # fmt: skip
    lines = []
    outcomes = tried(checks, 1, lines.append)
    assert [o.answer for o in outcomes] == ["kept", "MISSED", "MISSED", "open", "MISSED"]
    assert outcomes[2].found == "no room" and "needs 2 GPUs" in outcomes[3].found
    assert "ZeroDivisionError" in outcomes[4].found and len(lines) == 5
    facts = json.loads(json.dumps(as_json(outcomes)))
    assert (facts["kept"], facts["missed"], facts["open"], facts["version"]) == (1, 3, 1, 1)
    assert as_table(outcomes).count("\n") == 7 and "1 / 2" in as_table(outcomes)


@pytest.mark.parametrize(
    ("counted", "sampled", "kept"),
    [(3000.0, 3100.0, True), (3000.0, 4000.0, False), (100.0, 100.0, False), (None, 1.0, False),
     (3000.0, None, False)],
)  # fmt: skip
def test_counter_against_samples(counted, sampled, kept):
    reading = {"counter_joules": counted, "sampled_joules": sampled, "method": "NVML"}
    assert energy.judged(reading, 10.0).kept is kept


def study(folder, share=4.2, norm=20.0, answer="supported", corloc=50.0):
    who = {"family": "control", "size": "tiny", "registers": "r0-clean", "kind": "clean",
           "dataset": "scenes", "low": "", "high": "", "n": 1, "seed": 0, "unit": ""}  # fmt: skip
    rows = [who | {"claim": "claim1", "group": "artifacts", "metric": "share", "value": share},
            who | {"claim": "claim1", "group": "last_block", "metric": "norm_median",
                   "value": norm}]  # fmt: skip
    tables = Path(folder, "tables")
    tables.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(tables / "claim1.csv", index=False)
    row = who | {"claim": "discovery", "group": "lost", "metric": "corloc", "value": corloc}
    pd.DataFrame([row]).to_csv(tables / "discovery.csv", index=False)
    verdict = {"statement": "s", "scope": "phantom", "backbone": "b", "dataset": "d", "group": "",
               "answer": answer}  # fmt: skip
    pd.DataFrame([verdict]).to_csv(tables / "verdicts.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("changes", "apart"),
    [({"share": 4.35, "norm": 20.1, "corloc": 51.5}, ""), ({"share": 4.5}, "share"),
     ({"norm": 20.3}, "norm_median"), ({"answer": "contradicted"}, "s b d"),
     ({"corloc": 53}, "corloc"), ({"share": float("nan")}, "share")],
)  # fmt: skip
def test_the_demo_of_two_devices(tmp_path, changes, apart):
    said = workflow.compared(study(tmp_path / "gpu", **changes), study(tmp_path / "cpu"))
    assert said.kept is not bool(apart) and apart in said.text


def test_released_weights_against_the_literature(tmp_path):
    who = {"kind": "none", "dataset": "photographs", "claim": "claim2", "low": "", "high": "",
           "n": 1, "seed": 0, "unit": ""}  # fmt: skip
    rows = [who | {"family": "dinov2", "size": "base", "registers": "r0",
                   "group": f"block{b:02d}", "metric": "share_norm_over_3x_median",
                   "value": 3 - abs(b - 9)} for b in range(1, 13)]  # fmt: skip
    rows.append(who | {"family": "dinov2", "size": "small", "registers": "r0",
                       "group": "last_block", "metric": "norm_median", "value": 19.9})  # fmt: skip
    (tmp_path / "tables").mkdir()
    for name in ("claim1", "claim2"):
        pd.DataFrame(rows).to_csv(tmp_path / f"tables/{name}.csv", index=False)
    assert workflow._peak(tmp_path).kept
    first, second, *_ = (workflow._known(tmp_path, known) for known in workflow.LITERATURE)
    assert first.kept and not second.kept and "0 rows" in second.text


def test_targets_of_a_benchmark(tmp_path):
    file = tmp_path / "x.csv"
    rows = [{"setting": "s", "ratio": 0.97, "target": ">= 0.95", "met": "yes"},
            {"setting": "t", "ratio": 0.5, "target": "", "met": ""}]  # fmt: skip
    pd.DataFrame(rows).to_csv(file, index=False)
    assert speed.judged(file) == Said(True, "s: 0.97 (>= 0.95)")
    pd.DataFrame([rows[0] | {"met": "NO"}]).to_csv(file, index=False)
    assert not speed.judged(file).kept
    pd.DataFrame(rows[1:]).to_csv(file, index=False)
    assert speed.judged(file).kept is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize(
    "name", ["repeatable", "no_race", "precision", "own_head", "halving", "lost", "neurons"]
)
def test_kept_on_a_gpu(name):
    said = getattr(numerics, name)(standard("cuda"))
    assert said.kept, said.text
