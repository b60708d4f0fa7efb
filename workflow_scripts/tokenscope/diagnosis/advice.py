"""What follows from a diagnosis for whoever uses the backbone: a sentence for each question.

Where dense features are taken from; whether registers at test time help; whether the backbone it
came from had it too. Each has an answer (yes, no, cannot tell, does not apply) and a sentence.
"""

from dataclasses import dataclass

from tokenscope.tables.formatting import as_text, interval_text, number_text, signed_text
from tokenscope.tables.formatting import words as label

YES, NO, UNDECIDED, NOT_ABOUT = "yes", "no", "cannot tell", "does not apply"
KEPT = {
    "own head": "what its own head answers",
    "pooled feature": "the pooled feature (cosine)",
}
COSTS = 1.0  # points of top-1; less is a price that few would mind


@dataclass(frozen=True)
class Advice:
    """``answer``: yes, no, cannot tell or does not apply."""

    answer: str
    sentence: str


def features(evidence: dict, kinds: dict[str, dict]) -> Advice:
    """Are dense features of the last block, after the final norm, safe to take?

    Args:
        evidence: of the verdict (:class:`tokenscope.diagnosis.verdict.Evidence`), as a dict.
        kinds: answers by kind, as :mod:`tokenscope.diagnosis.record` has them.
    """
    last, onset = evidence["blocks"], evidence["onset"]
    others = []
    if kinds.get("channel", {}).get("answer") == YES:
        reason = kinds["channel"]["why"].partition(";")[0]
        others.append(f"standardise each channel first, by batch norm or PCA ({reason})")
    if kinds.get("fixed-pattern", {}).get("answer") == YES:
        others.append("subtract from each place its mean over images")
    also = f"; {', and '.join(others)}" if others else ""
    if evidence["artifacts"] == UNDECIDED:
        return Advice(
            UNDECIDED,
            f"Which block is safe for dense features these images do not say{also}: show it more, "
            "and meanwhile look at its maps.",
        )
    if evidence["artifacts"] == NO:
        return Advice(
            NO if others else YES,
            f"Take dense features from the last block ({last}), after the final norm{also}.",
        )
    if evidence["last"] == NO:
        return Advice(
            NO if others else YES,
            f"Take dense features from the last block ({last}), after the final norm, which is "
            f"clean; those of blocks {onset:.0f} to {last - 1} hold outliers{also}.",
        )
    spoiled = (
        f"{as_text(evidence['share'][0], 'percent')} of the tokens are outliers, and the final "
        "norm hides their length alone"
    )
    if onset > 1:
        return Advice(
            NO,
            f"Take dense features from block {onset - 1:.0f}, the last before outliers begin, "
            f"after a layer norm or batch norm of your own, or leave out patches of norm over "
            f"{number_text(evidence['cutoff'])} x their image's median before the final norm: in "
            f"the last block {spoiled}{also}.",
        )
    return Advice(
        NO,
        f"Leave out patches of norm over {number_text(evidence['cutoff'])} x their image's median "
        f"before the final norm: no block is free of them, {spoiled}{also}.",
    )


def untried(count: int) -> str:
    """Why nobody looked for the neurons that write outliers; ``count``: registers that it has."""
    return "it has registers already" if count else "the study asks for none (config key: testtime)"


def registers(
    artifacts: str, search: dict | None, moved: dict[str, dict], count: int = 0
) -> Advice:
    """Do registers at test time help?

    Args:
        artifacts: the answer of the diagnosis. search: what was found (rule ``neurons``), or None
            where nothing was searched.
        moved: of images that chose nothing, ``before``, ``share``, ``kept`` and, where its own
            head was right or wrong, ``top1``: each ``value``, ``low``, ``high``; may be empty.
        count: of registers that it has.
    """
    if search is None:
        return Advice(
            NOT_ABOUT,
            f"Registers at test time were not tried: {untried(count)}.",
        )
    if search["reason"] or not moved:
        why = search["reason"] or "no image was left to judge them by"
        return Advice(NO if artifacts == NO else UNDECIDED, f"No register at test time: {why}.")
    before, share, kept = moved["before"], moved["share"], moved["kept"]
    named = ", ".join(f"block {b} neuron {n}" for b, n in search["neurons"][:4])
    more = len(search["neurons"]) - 4
    named += f" and {more} more" if more > 0 else ""
    of_kept = interval_text(100 * kept["low"], 100 * kept["high"], "percent")
    what = (
        f"one register at test time ({named}) takes outliers from "
        f"{as_text(before['value'], 'percent')} to {as_text(share['value'], 'percent')} of the "
        f"patches and keeps {as_text(100 * kept['value'], 'percent')} {of_kept} of "
        f"{KEPT[search['kept_by']]}"
    )
    if cost := moved.get("top1"):
        value, low, high = (signed_text(cost[end], "points") for end in ("value", "low", "high"))
        what += f" (top-1 {value} points [{low}, {high}])"
    what += ", on images that chose nothing"
    if not share["high"] < before["low"]:
        return Advice(NO, f"It does not help: {what}.")
    if cost and cost["low"] < -COSTS:
        grave = cost["high"] < -COSTS
        price = "but costs accuracy" if grave else "and may cost more than a point of accuracy"
        return Advice(NO if grave else UNDECIDED, f"It cleans the maps {price}: {what}.")
    return Advice(YES, f"It helps: {what}.")


def parent(first: dict, second: dict | None) -> Advice:
    """Did the second backbone, the one that the first came from, have it too?

    Args:
        first, second: ``name``, ``artifacts`` and ``kinds`` (answers by kind) of each.
    """
    if second is None:
        return Advice(
            NOT_ABOUT,
            "Whether the backbone it came from had it was not asked: AGAINST=<that one> shows both "
            "the same images.",
        )
    name, pair = second["name"], (first["artifacts"], second["artifacts"])
    new, gone = _only(first["kinds"], second["kinds"]), _only(second["kinds"], first["kinds"])
    rest = "".join(
        f"; {words}: {', '.join(map(label, kinds))}"
        for words, kinds in (("new beside it", new), (f"of {name} alone", gone))
        if kinds
    )
    if UNDECIDED in pair:
        which = first["name"] if pair[0] == UNDECIDED else name
        return Advice(UNDECIDED, f"Whether {name} differs cannot be told of {which}{rest}.")
    if pair == (YES, YES):
        return Advice(YES, f"{name} has outliers of high norm on these images as well{rest}.")
    if pair == (YES, NO):
        return Advice(NO, f"{name} has none: its outliers of high norm are new{rest}.")
    if pair == (NO, YES):
        return Advice(YES, f"{name} has outliers of high norm that are gone here{rest}.")
    return Advice(NO, f"{name} has no outliers of high norm either{rest}.")


def _only(these: dict[str, dict], others: dict[str, dict]) -> list[str]:
    """The kinds that these have and the others surely have not, but for high norms."""
    return [
        kind
        for kind, one in these.items()
        if kind != "high-norm" and one["answer"] == YES and others.get(kind, {}).get("answer") == NO
    ]
