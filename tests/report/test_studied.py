"""The head of the report says what was measured, and when nothing of it was published."""

from types import SimpleNamespace

import pages
import pandas as pd
import pytest

from tokenscope.report.studied import NOTHING_PUBLISHED, phantoms_judged, studied
from tokenscope.report.template_data import in_one_line, with_this_page
from tokenscope.status import text
from tokenscope.status.states import Job
from tokenscope.status.summary import Status
from tokenscope.tables import tidy
from tokenscope.verdicts.answers import INSTRUMENT, PHANTOM, Judged, Line
from tokenscope.verdicts.conditions import Facts

FACTS = Facts(rendered=("scenes",), images_seen={"embedded/tiny/r4-scratch": 1e4})


def measured(*subjects, n=400):
    frames = []
    for key, dataset in subjects:
        rows = tidy.TidyRows(pages.who(key, dataset), n, 0)
        rows.add("claim1", "last_block", "norm_median", 1.0)
        frames.append(rows.frame())
    return {"claim1": pd.concat(frames), "claim2": pd.DataFrame(columns=tidy.COLUMNS)}


def test_a_study_of_rendered_scenes_says_so():
    tables = measured(
        ("embedded/tiny/r4-scratch", "scenes"), ("control/tiny/r0-clean", "scenes"),
        ("dinov2/small/r0", "scenes"), ("control/tiny/r1-content-10x-random", "scenes"),
    )  # fmt: skip
    assert studied(tables, FACTS) == [
        "Measured: 2 backbones: embedded/tiny/r4-scratch, dinov2/small/r0; "
        "1 phantom with a known answer; 1 backbone with registers added to phantoms, or as "
        "controls.",
        "Images: scenes (400, rendered scenes).", NOTHING_PUBLISHED,
    ]  # fmt: skip


def test_one_released_backbone_on_photographs_is_about_something_published():
    said = studied(measured(("dinov2/small/r0", "imagenet-val"), n=5000), FACTS)
    assert said == ["Measured: 1 backbone: dinov2/small/r0.", "Images: imagenet-val (5,000)."]
    trained_here = studied(measured(("embedded/tiny/r4-scratch", "imagenet-val")), FACTS)
    assert trained_here[-1] == NOTHING_PUBLISHED
    assert studied({"claim1": pd.DataFrame(columns=tidy.COLUMNS)}, FACTS) == []


def test_a_section_says_in_one_line_what_its_statements_are_answered():
    def verdict(main, *published, phantom=""):
        lines = [{"scope": "phantom", "answer": phantom}] if phantom else []
        return {"main": {"scope": "generalises", "answer": main}, "lines": lines,
                "published": [{"answer": answer} for answer in published]}  # fmt: skip

    none = [verdict("not run"), verdict("does not apply", "not run", phantom="supported")]
    assert in_one_line("Claim 2: where", none) == (
        "Claim 2: not tested here, none of 2 statements (not run 1, does not apply 1); "
        "phantoms: as known 1."
    )
    some = [verdict("supported", "contradicted", "not run"), verdict("cannot tell")]
    assert in_one_line("Claim 3: where", some) == (
        "Claim 3: supported 1, cannot tell 1, of 2 statements (generalises); as published: "
        "contradicted 1, of 2 named by sources."
    )
    assert in_one_line("What it took", []) == ""


@pytest.mark.parametrize("other, jobs, left", [
    ("done", "2 of 2 done", None), ("waiting", "1 of 2 done; 1 waiting", "2 s (90 %: 1 s to 3 s)"),
])  # fmt: skip
def test_the_page_counts_its_own_job_as_done_and_no_gpu_on_a_machine_without(other, jobs, left):
    planned = SimpleNamespace(gpus=0, threads=1)
    made = {rule: Job(rule, rule, "shared", state, planned)
            for rule, state in (("report", "running"), ("fig", other))}  # fmt: skip
    status = Status(
        study="s", time=0, began=0, controller=None, alive=False, jobs=made, attempts=[],
        left=(2.0, 1.0, 3.0), gpu_hours={}, core_hours={}, gpus=1,
    )  # fmt: skip
    found = dict(text.headline(with_this_page(status)))
    assert found["jobs"] == jobs
    assert found.get("left") == (left and f"{left}, without queueing")


def test_phantoms_that_the_instrument_was_held_against_are_counted_once():
    own = tuple(Judged(who, "d", answer) for who, answer in
                (("a", "supported"), ("b", "cannot tell"), ("c", "not run")))  # fmt: skip
    lines = {"x": [Line(INSTRUMENT, "", "", own)], "y": [Line(INSTRUMENT, "", "", own[:1])],
             "z": [Line(PHANTOM, "", "", (Judged("d", "d", "supported"),))]}  # fmt: skip
    assert phantoms_judged(lines) == 2
