"""Every kind of artifact of one backbone, beside high norms, each with its own answer.

    known = Known.of(judge(norms), norms)          # norms (image, block, patch), of any images
    measure = Measure(model, Images(count, read, mean, std), known, bootstrap)
    found = [*measure.observed(), *measure.registers_replaced()]
    found += [*measure.of_outliers(), *measure.outliers_replaced(), *measure.shifted(larger)]
    answers(found)["sink"].answer                  # "yes", "no", "cannot tell", "does not apply"

The last three are about outliers; a study shows them images that hold some (``measure.holding``).

A study does it in `workflow_scripts/kinds/kinds.py`, whose rows (``measures/kinds/<data set>/
<backbone>.csv``, joined in ``tables/kinds.csv``) are tidy: ``group`` is the kind, ``metric`` the
quantity, with the columns ``block`` (0: of the whole backbone), ``null``, ``answer`` and ``why``.
The one row of each kind whose ``answer`` is not empty is what its answer rests on: its size,
interval and reason.

Read first `answers.py` (kinds, and what a "yes" is), then `measure.py` (who is called for what) and
`block_pass.py` (one pass, reduced on the device block by block). Then a module for each kind:
`sinks.py`, `attention_received.py` (by outliers, by registers), `across_images.py` (fixed pattern,
universality), `channels.py`, `locality.py` (and point in box), `rank.py`, `qkv.py`; by experiment
`shift_test.py` and `replacement.py` (outliers, registers).
"""
