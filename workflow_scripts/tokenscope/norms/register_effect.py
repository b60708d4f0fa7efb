"""What registers change, and what they learn: a backbone beside the same one without registers.

Darcet et al., "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), section 3,
and of registers added at test time Jiang et al. (https://arxiv.org/abs/2506.08010). Both backbones
saw the same images; differences are taken image by image and resampled together, so that what both
share cancels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tokenscope.norms import attention_maps
from tokenscope.norms.outlier_rule import cutoff, max_over_median, share_metric
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement, of_difference
from tokenscope.tables.names import minus_r0


@dataclass(frozen=True)
class BackboneTokens:
    """What one backbone showed of the sample.

    Attributes:
        patches: (image, block, patch) norms.
        prefix: norms of CLS and registers after the last block, by kind (image,).
        maps: attention of CLS and registers, by kind (image, patch).
        hits: 1 where its own head was right (image,); None where it does not know the classes.
    """

    patches: np.ndarray
    prefix: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    hits: np.ndarray | None = None

    @classmethod
    def read(cls, tokens: PatchNorms) -> "BackboneTokens":
        maps, hits = {}, None
        if tokens.queries:
            maps = dict(zip(tokens.queries, tokens.read("attention").swapaxes(0, 1), strict=True))
        if "top5" in tokens:
            hits = (tokens.read("top5")[:, 0] == tokens.read("label")).astype(np.float64)
        return cls(tokens.norms(), tokens.prefix_norms(), maps, hits)

    def share_over(self, cutoffs: np.ndarray) -> np.ndarray:
        """Percent of each image's patches over the cutoffs (block,): (image, block)."""
        return 100 * (self.patches > cutoffs[:, None]).mean(2)


def compare(
    backbone: BackboneTokens, base: BackboneTokens | None, times: float, bootstrap: Bootstrap
) -> list[Measurement]:
    """Outliers, CLS attention and own head of a backbone, and how far they are from its base's.

    Args:
        base: the same backbone without registers; None for that one itself.
        times: the outlier rule's multiple of the median.

    Returns:
        each metric, and with a base ``<metric>_minus_r0`` behind it.
    """
    rows = list(_outliers(backbone, base, times, bootstrap))
    if backbone.hits is not None:
        before = None if base is None or base.hits is None else 100 * base.hits
        top1 = 100 * backbone.hits
        rows += _with_difference("own_head", "top1", top1, before, "percent", bootstrap)
    return rows


def _outliers(
    backbone: BackboneTokens, base: BackboneTokens | None, times: float, bootstrap: Bootstrap
) -> Iterator[Measurement]:
    """Shares over the cutoffs of the backbone itself, and over those of its base."""
    metric = share_metric(times)
    share = backbone.share_over(cutoff(backbone.patches, times))[:, -1]
    largest = max_over_median(backbone.patches[:, -1])
    if base is None:
        yield Measurement.mean("last_block", metric, share, bootstrap, "percent")
    else:
        # A moved median moves the own cutoff: the base's cutoffs are the same bar for both.
        bar = cutoff(base.patches, times)
        before, after = base.share_over(bar), backbone.share_over(bar)
        yield from _with_difference(
            "last_block", metric, share, before[:, -1], "percent", bootstrap
        )
        peak = int(before.mean(0).argmax())
        yield from _with_difference(
            "peak_block_of_base", f"{metric}_of_base", after[:, peak], before[:, peak], "percent",
            bootstrap,
        )  # fmt: skip
        outlier = base.patches[:, -1] > bar[-1]
        if "cls" in backbone.maps and "cls" in base.maps and outlier.any():
            own, other = (
                100 * (m * outlier).sum(1) / m.sum(1)
                for m in (backbone.maps["cls"], base.maps["cls"])
            )
            metric = "attention_share_where_base_has_outliers"
            yield from _with_difference("cls", metric, own, other, "percent", bootstrap)
    yield from _with_difference(
        "last_block", "norm_max_over_median", largest,
        None if base is None else max_over_median(base.patches[:, -1]), "", bootstrap,
    )  # fmt: skip


def _with_difference(
    group: str, metric: str, values: np.ndarray, before: np.ndarray | None, unit: str,
    bootstrap: Bootstrap,
) -> Iterator[Measurement]:  # fmt: skip
    """A mean over images, and how far it is from the base's on those images."""
    yield Measurement.mean(group, metric, values, bootstrap, unit)
    if before is not None:
        change, unit = values - before, of_difference(unit)
        yield Measurement.mean(group, minus_r0(metric), change, bootstrap, unit)


def registers(
    backbone: BackboneTokens, bootstrap: Bootstrap, objects: np.ndarray | None = None
) -> list[Measurement]:
    """Norms of CLS and registers, how their maps differ, and whether they look at objects.

    Args:
        objects: (image, patch) share of each patch that objects cover, where that is known.
    """
    rows, maps = [], backbone.maps
    for kind, norms in backbone.prefix.items():
        rows.append(Measurement.mean(kind, "norm_mean", norms, bootstrap))
        entropy = attention_maps.entropy(maps[kind])
        rows.append(Measurement.mean(kind, "map_entropy", entropy, bootstrap, "of the maximum"))
        if kind != "cls" and "cls" in maps:
            same = attention_maps.cosine(maps[kind], maps["cls"])
            rows.append(Measurement.mean(kind, "map_cosine_with_cls", same, bootstrap))
        if objects is not None:
            on = (maps[kind] * objects).sum(1) / maps[kind].sum(1)
            metric, area = "attention_on_objects_over_area", objects.mean(1)
            rows.append(Measurement.ratio(kind, metric, on, area, bootstrap))
    names = [kind for kind in backbone.prefix if kind != "cls"]
    if len(names) > 1:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        same = np.mean([attention_maps.cosine(maps[a], maps[b]) for a, b in pairs], axis=0)
        rows.append(Measurement.mean("registers", "map_cosine_between", same, bootstrap))
    return rows
