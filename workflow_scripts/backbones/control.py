"""Compare what the instrument says of a phantom with what is known of it."""

import numpy as np

from tokenscope.images.readers import ImageInputs
from tokenscope.jobs.job import job, log
from tokenscope.norms.outlier_rule import judged_mask
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.phantoms.answers import high_norms
from tokenscope.phantoms.comparison import Said, compare, of_kinds, passed
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt
from tokenscope.tables import tidy

DECIDED = {True: 1.0, False: 0.0, None: float("nan")}
KNOWN = {"yes": 1.0, "no": 0.0, "not yes": float("nan")}
ANSWER = {"yes": 1.0, "no": 0.0, "position": 1.0, "content": 0.0, "cannot tell": float("nan"),
          "does not apply": float("nan")}  # fmt: skip


def main(card, receipts, images, patch, claims, diagnosis, kinds, who, statistics, output):
    """Write tidy rows: what was planted, what is said, and whether it is right, item by item.

    Args:
        card: of the phantom. receipts: of its token store, one for each shard.
        images: where they are (:class:`tokenscope.images.readers.ImageInputs`).
        patch: its side in pixels.
        claims: CSV of what claims 1 and 2 say of it. diagnosis: CSV of its diagnosis.
        kinds: CSV of the kinds of artifacts of it, empty where the study measures none.
        who: the phantom and the data set, as columns of tidy rows; its kind says which it is.
        statistics: the study's section of that name.
        output: CSV to write.
    """
    planted, tokens = read_receipt(card)["planted"], PatchNorms.open(receipts)
    name, reader = who["kind"], images.open(1)
    truth = np.concatenate([high_norms(name, reader.read(*r), patch) for r in tokens.ranges])
    said = Said.of(tidy.read(claims), tidy.read(diagnosis))
    # Where no block is judged, planted tokens are described in the last that holds them.
    block = int(said.block) if said.block == said.block else planted["last"]
    norms = tokens.norms(block - 1)
    measured = judged_mask(norms, said.cutoff if said.artifacts == "yes" else np.inf)
    right = compare(name, planted, said, truth, measured)

    rows = tidy.TidyRows(who, len(truth), statistics["seed"])
    artifacts, position = ANSWER[said.artifacts], ANSWER[said.about]
    rows.add("control", "said", "has_artifacts", artifacts, unit="verdict")
    rows.add("control", "said", "follows_position", position, unit="verdict")
    bootstrap = Bootstrap.of(len(truth), statistics)
    for group, mask in (("planted", truth), ("measured", measured)):
        point, low, high, _ = bootstrap.ratio(100 * mask.mean(1), np.ones(len(mask)))
        rows.add("control", group, "share", point, low, high, "percent")
    high = (norms / np.median(norms, axis=1, keepdims=True))[truth]
    ratios = {"planted": np.median(high) if len(high) else np.nan, "measured": said.ratio}
    for group, value in ratios.items():
        rows.add("control", group, "ratio", float(value), unit="x median")
    onset = planted["first"] or float("nan")
    rows.add("control", "planted", "onset_block", onset, unit="block, from 1")
    rows.add("control", "measured", "onset_block", said.onset, unit="block, from 1")
    rows.add("control", "measured", "block", said.block, unit="block, from 1")
    rows.add("control", "difference", "tokens", int((truth != measured).sum()), unit="tokens")
    for item, is_right in right.items():
        rows.add("control", "right", item, DECIDED[is_right], unit="verdict")
    all_right = passed(right)
    rows.add("control", "verdict", "passed", DECIDED[all_right], unit="verdict")
    beside = of_kinds(name, truth, tidy.read(kinds)) if kinds else {}
    for kind, (known, answer, is_right) in beside.items():
        rows.add("control", "kinds-known", kind, KNOWN[known], unit="verdict")
        rows.add("control", "kinds-said", kind, ANSWER[answer], unit="verdict")
        rows.add("control", "kinds-right", kind, DECIDED[is_right], unit="verdict")
        log.info("%s: known: %s; said: %s", kind, known, answer)
    if beside:
        of_all = passed({kind: is_right for kind, (_, _, is_right) in beside.items()})
        rows.add("control", "kinds", "passed", DECIDED[of_all], unit="verdict")
    wrong = ", ".join(item for item, is_right in right.items() if is_right is False)
    log.info("%s: %s", name, {True: "passed", None: "undecided"}.get(all_right, f"FAILED: {wrong}"))
    tidy.write(rows.frame(), output)


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    with job(snakemake.log[0], f"control {w.dataset} {w.family}/{w.size}/{w.registers}"):
        main(
            card=i.card, receipts=i.tokens, images=ImageInputs(**p.images), patch=p.patch,
            claims=i.norms, diagnosis=i.diagnosis,
            kinds=i.get("kinds"), who=p.who, statistics=p.statistics,
            output=snakemake.output[0],
        )  # fmt: skip
