"""Verdicts: what intervals say about a statement, on numbers with a known answer."""

from pathlib import Path

import pytest
from made_verdicts import NAN, answer, made, row, study

from tokenscope.errors import StudyError
from tokenscope.report import contents
from tokenscope.verdicts import criteria
from tokenscope.verdicts.answers import AS_PUBLISHED, GENERALISES, PHANTOM
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.engine import judge
from tokenscope.verdicts.evidence import Evidence
from tokenscope.verdicts.subjects import Study
from tokenscope.verdicts.table import supported_if


def line(of, criterion, rows, scope=GENERALISES, **given):
    (found,) = [n for n in judge(study(of, rows, **given), criterion) if n.scope == scope]
    return found


def said(**given):
    """The only answer that a line rests on."""
    (one,) = line(**given).judged
    return one


@pytest.mark.parametrize(
    ("value", "low", "high", "more", "not_less"),
    [
        (0.5, 0.3, 0.7, "supported", "supported"),
        (0.3, 0.1, 0.5, "supported", "supported"),  # surely there, and at least the smallest effect
        (0.1, 0.05, 0.15, "cannot tell", "supported"),  # surely there, and too small to count
        (0.0, -0.1, 0.1, "cannot tell", "supported"),
        (0.3, -0.1, 0.7, "cannot tell", "supported"),
        (-0.1, -0.3, 0.1, "cannot tell", "cannot tell"),  # the interval holds the margin
        (-0.3, -0.5, -0.1, "contradicted", "cannot tell"),
        (-0.5, -0.7, -0.3, "contradicted", "contradicted"),
        (0.0001, 0.00005, 0.00015, "cannot tell", "supported"),
        (0.5, NAN, NAN, "cannot tell", "cannot tell"),
    ],
)
def test_improving_is_superiority_and_maintaining_is_non_inferiority(
    value, low, high, more, not_less
):
    for kind, expected, sign in (("more", more, 1), ("not_less", not_less, 1),
                                 ("less", more, -1), ("not_more", not_less, -1)):  # fmt: skip
        of, criterion = made(holds={kind: "top1"})
        ends = sorted((sign * low, sign * high)) if low == low else (low, high)
        one = said(of=of, criterion=criterion, rows=[row("a/b/r4", sign * value, *ends)])
        assert one.answer == expected, kind


def test_why_nothing_is_decided():
    of, criterion = made()
    for value, low, high, why in (
        (0.0, -0.1, 0.1, "no difference that counts: the whole interval is within 0.2 points"),
        (0.1, 0.05, 0.15, "there is a difference, but below the smallest that counts (0.2 points)"),
        (0.1, -0.3, 0.5, "the interval includes no difference"),
        (0.5, NAN, NAN, "no interval"),
        (0.5, 0.5, 0.5, "its interval has no width"),
    ):
        one = said(of=of, criterion=criterion, rows=[row("a/b/r4", value, low, high)])
        assert one.answer == "cannot tell" and why in one.why


def test_a_bound_that_a_statement_names_needs_no_effect():
    for holds, value, expected in (
        ({"above": 1}, 1.5, "supported"),
        ({"below": 1}, 1.5, "contradicted"),
    ):
        of, criterion = made(holds=holds)
        one = said(of=of, criterion=criterion, rows=[row("a/b/r4", value, 1.1, 1.9)])
        assert one.answer == expected
    of, criterion = made(holds={"below": 2}, exact=True)
    counts = [row("a/b/r4", 1.63)]
    assert said(of=of, criterion=criterion, rows=counts).answer == "supported"


def test_what_never_happened_is_bounded_by_the_number_of_images():
    """0 of n images changed: Clopper and Pearson allow 0.37 % of 1,000, 0.07 % of 5,000."""
    of, criterion = made(holds={"not_less": "top1"})
    for images, expected in ((1000, "cannot tell"), (5000, "supported")):
        one = said(of=of, criterion=criterion, rows=[row("a/b/r4", 0, 0, 0, n=images)])
        assert one.answer == expected
        assert one.low == pytest.approx(-100 * (1 - 0.025 ** (1 / images)))


def test_what_is_missing_is_not_run_and_what_is_refused_cannot_tell():
    of, criterion = made()
    rows = [
        row("a/b/r4", NAN, unit="not measured: too few tokens"),
        row("a/e/r4", 1, metric="other"),
    ]
    planned = [("d", f"a/{size}/r4") for size in "bce"] + [("d", "a/b/r0")]
    found = line(of, criterion, rows, planned=planned)
    by = {one.who: (one.answer, one.why) for one in found.judged}
    assert by == {
        "a/b/r4": ("cannot tell", "not measured: too few tokens"),
        "a/c/r4": ("not run", "no measurement yet"),
        "a/e/r4": ("does not apply", "not measured: gain (head), which would stand in table t"),
    }
    assert found.answer == "cannot tell" and (found.supporting, found.asked) == (0, 1)
    absent = line(of, criterion, [], planned=planned[1:2])
    assert (absent.answer, absent.why) == ("not run", "no measurement yet")


def test_holm_over_backbones():
    """One number that would decide alone does not where forty are asked; a clear one does."""
    of, criterion = made()
    nothing = [row(f"a/m{i}/r4", 0.0, -1, 1) for i in range(38)]
    rows = [row("a/close/r4", 0.5, 0.05, 0.95), row("a/clear/r4", 0.5, 0.4, 0.6), *nothing]
    by = {one.who: one for one in line(of, criterion, rows).judged}
    assert by["a/close/r4"].p < 0.05 and by["a/close/r4"].answer == "cannot tell"
    assert by["a/close/r4"].why == "it would decide alone, not after Holm's correction over 40"
    assert by["a/clear/r4"].answer == "supported"


def test_a_statement_generalises_where_most_support_it_and_none_contradicts():
    of, criterion = made()
    good = [row(f"a/m{i}/r4", 1.0 + i, 0.9 + i, 1.1 + i) for i in range(3)]
    unclear = [row("a/u/r4", 0.0, -1, 1)]
    bad = [row("a/w/r4", -1.0, -1.1, -0.9)]
    found = line(of, criterion, good + unclear)
    assert found.answer == "supported" and found.why == "3 of 4"
    assert found.spread == pytest.approx((5 / 3) ** 0.5)  # of 1, 2, 3, 0
    assert line(of, criterion, good[:1] + unclear).answer == "cannot tell"
    assert line(of, criterion, good + bad).answer == "contradicted"
    of, some = made(quantifier="some")
    assert line(of, some, good[:1] + unclear + bad).answer == "supported"
    assert line(of, some, bad).answer == "contradicted"


def test_a_backbone_counts_once_whatever_its_heads_and_data_sets():
    of, criterion = made(groups=["head", "other"])
    rows = [
        row("a/b/r4", 1.0, 0.8, 1.2, dataset=d, group=g) for d in "de" for g in ("head", "other")
    ]
    one = said(of=of, criterion=criterion, rows=rows)
    # Groups share their images (their mean error); two data sets do not (0.2 / sqrt 2).
    assert (one.dataset, one.group) == ("d, e", "head, other")
    assert (one.value, one.low, one.high) == pytest.approx((1, 1 - 0.2 / 2**0.5, 1 + 0.2 / 2**0.5))


SOURCE = {"paper": "p", "where": "Table 1", "models": ["a/b/r4", "a/c/r4"], "data": ["d*"]}


def test_as_published_asks_the_models_and_data_of_the_source():
    of, criterion = made(sources=[SOURCE])
    b, c = row("a/b/r4", 1, 0.9, 1.1), row("a/c/r4", 1, 0.9, 1.1)
    other = [row("a/z/r4", -1, -1.1, -0.9), row("a/b/r4", -1, -1.1, -0.9, dataset="e")]
    found = line(of, criterion, [b, c, *other], AS_PUBLISHED)
    assert (found.answer, found.source, found.where) == ("supported", "p", "Table 1")
    assert line(of, criterion, [b, c, *other]).answer == "contradicted"
    part = line(of, criterion, [b, *other], AS_PUBLISHED)
    assert part.answer == "not run" and "supported as far as it was measured" in part.why
    assert "not in this study on d*: a/c/r4" in part.why
    of, criterion = made(sources=[SOURCE | {"unreleased": ["a/c/r4"]}])
    rest = line(of, criterion, [b], AS_PUBLISHED)
    assert rest.answer == "supported" and "weights were never released: a/c/r4" in rest.why
    worse = line(of, criterion, [row("a/b/r4", -1, -1.1, -0.9)], AS_PUBLISHED)
    assert worse.answer == "contradicted"
    views = [b, c, row("a/b/r4", -1, -1.1, -0.9, group="head@view"), c | {"group": "head@view"}]
    of, criterion = made(sources=[SOURCE | {"groups": ["head@view"]}], groups=["head*"])
    assert line(of, criterion, views, AS_PUBLISHED).answer == "contradicted"


def test_answers_are_taken_as_they_are():
    of, criterion = made(holds={"answer": "no"}, groups=["artifacts"], metric="has_artifacts")
    rows = [answer("a/b/r4", 0), answer("a/c/r4", NAN), answer("a/d/r4", 1)]
    found = [one.answer for one in line(of, criterion, rows).judged]
    assert found == ["supported", "cannot tell", "contradicted"]
    unsure = line(of, criterion, rows).judged[1]
    assert unsure.why == "the decision itself cannot tell"


def test_share_of_depth_takes_the_last_block_of_the_first_third_for_what_it_is():
    of, criterion = made(holds={"above": 0.33334}, share_of_depth=True, exact=True,
                         groups=["depth"], metric="onset")  # fmt: skip
    blocks = [row("a/b/r4", 1, group=f"block{i:02d}", metric="m") for i in range(1, 13)]
    for onset, expected in ((4, "contradicted"), (5, "supported")):
        rows = [row("a/b/r4", onset, onset, onset, group="depth", metric="onset"), *blocks]
        one = said(of=of, criterion=criterion, rows=rows)
        assert one.answer == expected and one.value == pytest.approx(onset / 12)


def test_difference_of_groups_takes_the_extremes_of_both_intervals():
    of, criterion = made(groups=["after"], minus="before")
    rows = [row("a/b/r4", 10, 9, 11, group="before"), row("a/b/r4", 14, 12, 16, group="after")]
    one = said(of=of, criterion=criterion, rows=rows)
    assert (one.value, one.low, one.high, one.answer) == (4, 1, 7, "supported")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((0, 0, 1), "supported"), ((0, 1, 0), "contradicted"), ((1, 1, 1), "contradicted"),
        ((0, 0, 0), "cannot tell"), ((0, NAN, 1), "cannot tell"), ((1, NAN, 0), "contradicted"),
    ],
)  # fmt: skip
def test_order_by_size(answers, expected):
    of, criterion = made(holds={"order": "params"}, groups=["artifacts"], metric="has_artifacts")
    facts = Facts(params={"a/c/r4": 2.0, "a/b/r4": 1.0, "a/d/r4": 3.0})
    rows = [answer(f"a/{size}/r4", yes) for size, yes in zip("bcd", answers, strict=True)]
    one = said(of=of, criterion=criterion, rows=rows[::-1], facts=facts)
    assert one.answer == expected and one.who == "a" and one.why.startswith("small to large: b")


def test_a_population_by_size():
    of, criterion = made(params={"below": 3e8})
    facts = Facts(params={"a/s/r4": 1e8, "a/l/r4": 3e8})
    rows = [row(f"a/{size}/r4", 1, 0.9, 1.1) for size in "sl"]
    assert [j.who for j in line(of, criterion, rows, facts=facts).judged] == ["a/s/r4"]


def test_phantoms_must_give_their_known_answer():
    known = {"*/*/r0-content-10x": "supported", "*/*/r0-clean": "cannot tell"}
    of, criterion = made(backbones=["*/*/r0*"], known=known)
    facts = Facts(images_seen={"c/t/r0-content-10x": 1.0, "c/t/r0-clean": 1.0})
    for planted, corners, expected in (
        ((1, 0.9, 1.1), (0, -1, 1), "supported"),
        ((1, 0.9, 1.1), (1, 0.9, 1.1), "contradicted"),
        ((0, -1, 1), (0, -1, 1), "cannot tell"),
    ):
        rows = [row("c/t/r0-content-10x", *planted), row("c/t/r0-clean", *corners)]
        found = line(of, criterion, rows, PHANTOM, facts=facts)
        assert found.answer == expected
        # They say nothing of the papers.
        assert line(of, criterion, rows, facts=facts).judged == ()


def test_phantoms_of_which_nothing_is_to_be_decided_test_no_statement():
    of, criterion = made(backbones=["*/*/r0*"], known={"*/*/r0-clean": "does not apply"})
    facts = Facts(images_seen={"c/t/r0-clean": 1.0})
    rows = [row("c/t/r0-clean", 0, -1, 1)]
    found = line(of, criterion, rows, PHANTOM, facts=facts)
    assert found.answer == "does not apply"
    assert found.why == "nothing is to be decided of the one phantom, and nothing is"
    rows = [row("c/t/r0-clean", 1, 0.9, 1.1)]
    assert line(of, criterion, rows, PHANTOM, facts=facts).answer == "contradicted"


def test_criteria_and_sections_of_the_project_are_sound():
    of = criteria.of(contents.load("config/verdicts.yaml", "verdicts.schema.yaml"))
    known = {section["id"] for section in contents.sections("config/report.yaml")}
    assert set(of.by_section) <= known
    by_id = {criterion.id: criterion for criterion in of}
    position = by_id["claim4-position"]
    assert position.concerns("dinov2/giant/r0") and not position.concerns("dinov2/giant/r4")
    # Every statement about the papers says where it stands and of which models.
    for criterion in of:
        assert criterion.instrument or all(s.where and s.models for s in criterion.sources)
    sizes = {name: effect.size for name, effect in of.effects.items()}
    assert (sizes["top1"], sizes["miou"], sizes["rmse"], sizes["corloc"], sizes["tokens"]) == (
        0.2, 0.5, 0.005, 1, 0.1,
    )  # fmt: skip
    said = {name: supported_if(criterion) for name, criterion in by_id.items()}
    assert "is above 0 with its whole interval and 1 point from it" in said["discovery-registers"]
    assert said["overhead-flops"].endswith(" is below 2 (a count: no interval)")
    assert not any("0.33334" in one or " 1 points" in one for one in said.values())
    assert by_id["claim5-tokens"].test.kind == "not_more"  # Table 5 of the reassessment
    assert {"claim1-dinov2-small", "claim1-dinov2-base", "discovery-openclip"} <= by_id.keys()


def test_a_criterion_with_a_wrong_key_is_refused(tmp_path):
    file = tmp_path / "verdicts.yaml"
    text = Path("config/verdicts.yaml").read_text()
    file.write_text(text.replace("holds: {more: auc}", "holds: {mehr: auc}"))
    with pytest.raises(StudyError, match=r"verdicts.yaml: statements/claim1/\d+/holds: .*'mehr'"):
        contents.load(str(file), "verdicts.schema.yaml")
    with pytest.raises(StudyError, match="no effect is named 'gain'; there are top1"):
        made(holds={"more": "gain"})


def test_what_decides_how_often_criteria_err_holds_no_words(tmp_path):
    """So that a word changed in the file simulates nothing anew, and a smallest effect does."""
    text = Path("config/verdicts.yaml").read_text()
    file = tmp_path / "verdicts.yaml"
    before = contents.simulated("config/verdicts.yaml")
    file.write_text(text.replace("DINO (the first) has none.", "It has none."))
    assert contents.simulated(str(file)) == before
    file.write_text(text.replace("size: 0.2\n", "size: 0.3\n"))
    assert contents.simulated(str(file)) != before


def test_one_line_of_the_file_changes_the_verdict(tmp_path):
    """The smallest effect of top-1 raised: the same rows, another answer, with its reason."""
    text = Path("config/verdicts.yaml").read_text()
    key = "dinov2/large/r4"
    rows = [row(key, 0.4, 0.2, 0.6, group="published_head", metric="top1_gain_over_r0",
                dataset="imagenet-test")]  # fmt: skip
    answers = []
    for size in ("0.2", "0.5"):
        file = tmp_path / "verdicts.yaml"
        file.write_text(text.replace("    size: 0.2\n", f"    size: {size}\n"))
        of = criteria.of(contents.load(str(file), "verdicts.schema.yaml"))
        criterion = next(c for c in of if c.id == "claim5-improves")
        evidence = Evidence({"claim5": rows})
        own = Study(of, evidence, {"claim5": [("imagenet-test", key)]}, Facts(params={key: 1.0}))
        (one,) = next(n for n in judge(own, criterion) if n.scope == GENERALISES).judged
        answers.append((one.answer, one.why))
    assert answers[0] == ("supported", "these two weights")
    assert answers[1][0] == "cannot tell" and "below the smallest that counts" in answers[1][1]
