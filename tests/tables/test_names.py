"""Names with structure: what is composed is read back, and every table is known by its name."""

import pytest
from tables import gather

from tokenscope.study import heads
from tokenscope.tables import names
from tokenscope.tables.captions import NOTES, TITLES
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
