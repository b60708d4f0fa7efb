"""Names with structure: what is composed is read back, and every table is known by its name."""

import pytest
from tables import gather

from tokenscope.kinds.answers import KINDS
from tokenscope.study import heads
from tokenscope.tables import names
from tokenscope.tables.captions import NOTES, TITLES
from tokenscope.tables.formatting import amount, group_words, heading, in_words, words
from tokenscope.tables.register_gains import OFFICIAL, RESIZED


@pytest.mark.parametrize("head", ["own_head", "cls+patch_mean+registers", "knn_cls"])
@pytest.mark.parametrize("view", heads.VIEWS)
def test_what_is_composed_is_read_back(head, view):
    group = names.group_name(head, view)
    assert names.head_and_view(group) == (head, view)
    assert (group == head) == (view == "native")
    assert names.base_of_gain(names.gain_over(head)) == head
    assert names.without_minus_r0(names.minus_r0(head)) == head == names.without_minus_r0(head)
    assert names.is_minus_r0(names.minus_r0(head)) and not names.is_minus_r0(head)


def test_views_and_tables_are_those_of_the_study():
    assert {RESIZED, OFFICIAL, names.NATIVE} == set(heads.VIEWS)
    assert set(gather.PAGES) <= set(TITLES) & set(NOTES)
    assert names.claim_of("controls") in gather.PAGES and names.claim_of("claim1") == "claim1"


@pytest.mark.parametrize("name, said", [
    ("share_norm_over_3x_median_minus_r0", "tokens over 3 x median minus that without registers"),
    ("neighbour_cosine_share_over_0.85", "pairs of neighbours with a cosine over 0.85"),
    ("cls+patch_mean+registers", "CLS + patch mean + registers"),
    ("before: own_head", "before: own head"), ("block07", "block 7"),
    ("outlier-normal_same_places", "outlier minus normal of the same places"),
    ("last_block-other image", "last block minus other image"),
    ("second-first", "second minus first"), ("artifacts-last_block", "artifacts, last block"),
    ("point-in-box-block_03", "point in box, block 3"),
    ("step00000014/block02", "update 14, block 2"),
    ("own_head@resize256", "own head at shorter side 256"),
    ("a_new_name", "a new name"),
    ("share_norm_over_*x_median", "tokens over the outlier rule's multiple of the median"),
])  # fmt: skip
def test_readers_see_words(name, said):
    assert words(name) == said


def test_only_differences_are_read_as_minus():
    assert not [kind for kind in KINDS if " minus " in words(kind) or "-" in words(kind)]
    assert not [view for view in heads.VIEWS if " minus " in words(view)]


def test_groups_and_sizes_in_words():
    assert group_words("judged") == "by each one's own decision"
    assert group_words("judged, other: openclip/huge/r0").endswith(", other: openclip/huge/r0")
    assert group_words("last_block") == "last block"
    assert words("judged_share_minus_other").endswith(" minus that of the other backbone")
    said = [amount(1, "points"), amount(2, "points"), amount(0.1, "ratio"), amount(0.5, "percent")]
    assert said == ["1 point", "2 points", "0.1", "0.5 %"]


def test_definitions_use_the_words_of_their_tables():
    note = "free_of_place_and_image: how much. ..._minus_r0: the difference; norm_p98."
    assert heading("top-1 (%)") == "top-1 (%)" and heading("minus r0 (points)").endswith("(points)")
    assert heading("weights_sha256") == "SHA-256 of the weights" and heading("on") == "on"
    assert in_words(note) == (
        "left open by place and image: how much. ... minus that without registers: the difference; "
        "98th percentile of norms."
    )
    assert all("_" not in in_words(note) for note in NOTES.values())
