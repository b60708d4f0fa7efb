"""What registers change, and what they learn: a backbone beside the same one without registers.

Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), section 3,
and of registers added at test time Jiang et al. (https://arxiv.org/abs/2506.08010). Both backbones
saw the same images; differences are taken image by image and resampled together, so that what both
share cancels. Who is an outlier is each backbone's own decision, beside published rules.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tokenscope.norms import attention_maps
from tokenscope.norms.outlier_rule import (
    Judged,
    cutoff,
    judged_mask,
    max_over_median,
    share_metric,
)
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.map_cosine import cosine
from tokenscope.stats.measurement import Measurement, of_difference
from tokenscope.tables.names import minus
from tokenscope.tables.tidy import refusal


@dataclass(frozen=True)
class BackboneTokens:
    """What one backbone showed of the sample.

    Attributes:
        patches: (image, block, patch) norms.
        prefix: norms of the prefix tokens after the last block, by kind (image,).
        maps: attention of CLS and registers, by kind (image, patch).
        hits: 1 where its own head was right (image,); None where it does not know the classes.
        judged: what was decided of this backbone. grid: rows and columns of patches, if known.
    """

    patches: np.ndarray
    prefix: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    hits: np.ndarray | None = None
    judged: Judged = Judged()
    grid: tuple[int, int] | None = None

    @classmethod
    def read(cls, tokens: PatchNorms, judged: Judged) -> "BackboneTokens":
        maps, hits = {}, None
        if tokens.queries:
            maps = dict(zip(tokens.queries, tokens.read("attention").swapaxes(0, 1), strict=True))
        if "top5" in tokens:
            hits = (tokens.read("top5")[:, 0] == tokens.read("label")).astype(np.float64)
        return cls(tokens.norms(), tokens.prefix_norms(), maps, hits, judged, tokens.grid)

    def of_images(self, which: np.ndarray) -> "BackboneTokens":
        """The same of some images: a mask (image,)."""
        return replace(
            self,
            patches=self.patches[which],
            prefix={kind: norms[which] for kind, norms in self.prefix.items()},
            maps={kind: maps[which] for kind, maps in self.maps.items()},
            hits=None if self.hits is None else self.hits[which],
        )

    def judged_share(self) -> np.ndarray | None:
        """Percent of each image's patches that are outliers by this backbone's own decision.

        None of them where the decision is no; None where it cannot tell.
        """
        if self.judged.yes:
            block, ratio_cutoff = self.judged.block, self.judged.ratio_cutoff
            return 100 * judged_mask(self.patches[:, block - 1], ratio_cutoff).mean(1)
        return np.zeros(len(self.patches)) if self.judged.verdict == "no" else None

    def attention_excess(self) -> np.ndarray | None:
        """Attention of CLS beyond that of the surroundings (image,); None without CLS."""
        if self.grid is None or "cls" not in self.maps:
            return None
        return attention_maps.excess(self.maps["cls"], self.grid)

    def share_over(self, cutoffs: np.ndarray) -> np.ndarray:
        """Percent of each image's patches over the cutoffs (block,): (image, block)."""
        return 100 * (self.patches > cutoffs[:, None]).mean(2)


Others = Mapping[str, BackboneTokens]


def compare(
    backbone: BackboneTokens, others: Others, times: float, bootstrap: Bootstrap
) -> list[Measurement]:
    """Outliers, CLS attention and own head of a backbone, and how far they are from others'.

    Args:
        others: backbones on the same images: ``r0``, the same one without registers, and the
            controls of registers added at test time (``random``, ``zeroed``); empty for the
            backbone without registers itself.
        times: the outlier rule's multiple of the median.

    Returns:
        each metric, and for each of the others ``<metric>_minus_<other>`` behind it.
    """
    rows = [*_own_decision(backbone, others, bootstrap)]
    rows += _outliers(backbone, others, times, bootstrap)
    rows += _attention(backbone, others, bootstrap)
    if backbone.hits is not None:
        hits = {name: None if o.hits is None else 100 * o.hits for name, o in others.items()}
        rows += _with_differences(
            "own_head", "top1", 100 * backbone.hits, hits, "percent", bootstrap
        )
    return rows


def _own_decision(
    backbone: BackboneTokens, others: Others, bootstrap: Bootstrap
) -> Iterator[Measurement]:
    """Outliers as each backbone's own decision sees them, in the block that it names."""
    group, metric, share = "judged", "judged_share", backbone.judged_share()
    if share is None:
        unit = refusal("cannot tell whether it has artifacts")
        yield Measurement(group, metric, None, unit=unit)
        return
    shares = {name: other.judged_share() for name, other in others.items()}
    yield from _with_differences(group, metric, share, shares, "percent", bootstrap)


def _outliers(
    backbone: BackboneTokens, others: Others, times: float, bootstrap: Bootstrap
) -> Iterator[Measurement]:
    """Shares over the cutoffs of the backbone itself, and over those of its base."""
    metric, base = share_metric(times), others.get("r0")
    share = backbone.share_over(cutoff(backbone.patches, times))[:, -1]
    largest = max_over_median(backbone.patches[:, -1])
    if base is None:
        yield Measurement.mean("last_block", metric, share, bootstrap, "percent")
    else:
        # A moved median moves the own cutoff: the base's cutoffs are the same bar for all.
        bar = cutoff(base.patches, times)
        over = {name: other.share_over(bar) for name, other in others.items()}
        yield from _with_differences(
            "last_block", metric, share, _at(over, -1), "percent", bootstrap
        )
        peak = int(over["r0"].mean(0).argmax())
        yield from _with_differences(
            "peak_block_of_base", f"{metric}_of_base", backbone.share_over(bar)[:, peak],
            _at(over, peak), "percent", bootstrap,
        )  # fmt: skip
    yield from _with_differences(
        "last_block", "norm_max_over_median", largest,
        {name: max_over_median(other.patches[:, -1]) for name, other in others.items()}, "",
        bootstrap,
    )  # fmt: skip
    outlier = None if base is None else base.patches[:, -1] > cutoff(base.patches, times)[-1]
    if outlier is not None and "cls" in backbone.maps and outlier.any():
        shares = {
            name: 100 * (other.maps["cls"] * outlier).sum(1) / other.maps["cls"].sum(1)
            for name, other in {"": backbone, **others}.items()
            if "cls" in other.maps
        }
        metric = "attention_share_where_base_has_outliers"
        yield from _with_differences("cls", metric, shares.pop(""), shares, "percent", bootstrap)


def _at(shares: Mapping[str, np.ndarray], block: int) -> dict[str, np.ndarray]:
    return {name: share[:, block] for name, share in shares.items()}


def _attention(
    backbone: BackboneTokens, others: Others, bootstrap: Bootstrap
) -> Iterator[Measurement]:
    """How much of CLS's attention stands out from that of the surroundings."""
    own = backbone.attention_excess()
    if own is not None:
        excess = {name: other.attention_excess() for name, other in others.items()}
        yield from _with_differences("cls", "attention_excess", own, excess, "percent", bootstrap)


def _with_differences(
    group: str, metric: str, values: np.ndarray, others: Mapping[str, np.ndarray | None],
    unit: str, bootstrap: Bootstrap,
) -> Iterator[Measurement]:  # fmt: skip
    """A mean over images, and how far it is from those of others on the same images."""
    yield Measurement.mean(group, metric, values, bootstrap, unit)
    for name, before in others.items():
        if before is not None:
            change, of_change = values - before, of_difference(unit)
            yield Measurement.mean(group, minus(metric, name), change, bootstrap, of_change)


def registers(
    backbone: BackboneTokens, bootstrap: Bootstrap, objects: np.ndarray | None = None
) -> list[Measurement]:
    """Norms of prefix tokens, how their maps differ, and whether they look at objects.

    Args:
        objects: (image, patch) share of each patch that objects cover, where that is known.
    """
    rows, maps = [], backbone.maps
    for kind, norms in backbone.prefix.items():
        rows.append(Measurement.mean(kind, "norm_mean", norms, bootstrap))
        entropy = attention_maps.entropy(maps[kind])
        rows.append(Measurement.mean(kind, "map_entropy", entropy, bootstrap, "of the maximum"))
        if kind != "cls" and "cls" in maps:
            same = cosine(maps[kind], maps["cls"])
            rows.append(Measurement.mean(kind, "map_cosine_with_cls", same, bootstrap))
        if objects is not None:
            on = (maps[kind] * objects).sum(1) / maps[kind].sum(1)
            metric, area = "attention_on_objects_over_area", objects.mean(1)
            rows.append(Measurement.ratio(kind, metric, on, area, bootstrap))
    names = [kind for kind in backbone.prefix if kind.startswith("reg")]
    if len(names) > 1:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        same = np.mean([cosine(maps[a], maps[b]) for a, b in pairs], axis=0)
        rows.append(Measurement.mean("registers", "map_cosine_between", same, bootstrap))
    return rows


def contrast(
    one: BackboneTokens, other: BackboneTokens, times: float, bootstrap: Bootstrap
) -> list[Measurement]:
    """Has one backbone as many outliers as another? Their shares apart, on the same images.

    Resampled together; the backbones may differ in grid and depth, a share is a share of each
    one's own patches. Figure 4 of the main paper: OpenCLIP-B beside OpenCLIP-H.

    Returns:
        ``<share>_minus_other`` in points and ``<share>_over_other``, after the last block by the
        outlier rule, and of the judged block by each one's own decision where both have one.
    """

    def shares(which: BackboneTokens) -> np.ndarray:
        return which.share_over(cutoff(which.patches, times))[:, -1]

    pairs = [("last_block", share_metric(times), shares(one), shares(other))]
    own, others = one.judged_share(), other.judged_share()
    if own is not None and others is not None:
        pairs.append(("judged", "judged_share", own, others))
    rows = []
    for group, metric, a, b in pairs:
        rows.append(Measurement.mean(group, minus(metric, "other"), a - b, bootstrap, "points"))
        if b.any():
            rows.append(Measurement.ratio(group, f"{metric}_over_other", a, b, bootstrap, "ratio"))
    return rows
