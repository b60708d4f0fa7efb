"""CorLoc of LOST: one setting chosen on held-out images, reported on the others with all the rest.

Restricted choices (one facet, one block, no bias ...) are made on the same held-out images and
reported on the same others, so that they show how much the choice matters and not how lucky it was.
LOST: Simeoni et al., https://arxiv.org/abs/2109.14279.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from tokenscope.discovery.box_iou import located
from tokenscope.discovery.settings import Setting, as_published
from tokenscope.errors import StudyError
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.measurement import Measurement
from tokenscope.tables.tidy import TidyRows

FEWEST = 4  # images that can be split in two


class CorLoc:
    """What every setting hits; one setting is chosen on held-out images, the others report.

    Args:
        store: what :mod:`tokenscope.discovery.sweep` found, loaded: ``box`` (image, setting,
            corner), ``seed`` (image, setting) and their coordinates, in any order of images.
        truth: true boxes (k, 4) in pixels by image id; images without any are left out.
        who: family, size, registers, kind and data set, as in tidy rows.
        held_out: share of the images that choose. ``seed`` is that of their draw.
        statistics: the section of the config, see :meth:`Bootstrap.of`.

    Attributes:
        names (image,) ids in sorted order. settings: a list. hits (image, setting): CorLoc's yes
        or no. held, rest: positions of the images that choose and report. best: number of the
        setting that was chosen.

    Raises:
        StudyError: too few images have boxes.
    """

    def __init__(
        self, store: xr.Dataset, truth: dict[str, np.ndarray], who: dict, held_out: float,
        seed: int, statistics: dict,
    ):  # fmt: skip
        names = store["image_id"].values
        order = [i for i in np.argsort(names) if names[i] in truth]
        if len(order) < FEWEST:
            raise StudyError(f"{who['dataset']}: {len(order)} images with boxes: too few to split")
        self.store, self.who = store.isel(image=order), who
        self.names = self.store["image_id"].values
        self.truth = [truth[name] for name in self.names]
        self.settings = settings_of(store)
        self.hits = located(self.store["box"].values, self.truth)
        self.held, self.rest = split(len(order), held_out, seed)
        self.best = pick(self.hits[self.held], self.settings, lambda s: True)
        self.statistics = statistics
        self.bootstrap = Bootstrap.of(len(self.rest), statistics)

    @property
    def chosen(self) -> Setting:
        """The setting with most hits on the images that choose."""
        return self.settings[self.best]

    def by_image(self) -> dict[tuple[str, str], np.ndarray]:
        """Yes or no for each image that reports, by group and metric; see tables.paired."""
        seeds = seed_in_box(self.store.isel(setting=self.best), self.truth)
        hits = {
            ("lost", "corloc"): self.hits[self.rest, self.best],
            ("lost", "seed_in_box"): seeds[self.rest],
        }
        for setting in as_published(self.settings):
            number = self.settings.index(setting)
            hits[f"lost_{setting.facet}_unbiased", "corloc"] = self.hits[self.rest, number]
        return hits

    def ties(self) -> list[Measurement]:
        """How much CorLoc of LOST as published moves when ties of the degree are broken at random.

        Of each facet: the mean over orders, its difference from the first patch in the order of
        rows, the lowest and highest of the orders, and in how many images the seed is tied.
        """
        rows: list[Measurement] = []
        if "box_random_ties" not in self.store:
            return rows
        report = self.store.isel(image=self.rest)
        truth, ones = [self.truth[i] for i in self.rest], np.ones(len(self.rest))
        for place, setting in enumerate(as_published(self.settings)):
            number = self.settings.index(setting)
            boxes = report["box_random_ties"].values[:, place]
            hits = 100.0 * located(boxes, truth)
            first = 100.0 * self.hits[self.rest, number][:, None]
            group = f"lost_{setting.facet}_unbiased: random ties"
            for metric, values, unit in (
                ("corloc", hits, "percent"), ("corloc_minus_first_tie", hits - first, "points"),
            ):  # fmt: skip
                value, low, high, _ = self.bootstrap.over_seeds(values, ones)
                rows.append(Measurement(group, metric, value, low, high, unit))
            for metric, of in (("corloc_lowest_order", np.min), ("corloc_highest_order", np.max)):
                rows.append(Measurement(group, metric, of(hits.mean(0)), unit="percent"))
            tied = 100.0 * (report["tied"].values[:, number] > 1)
            rows.append(Measurement.mean(group, "seed_tied", tied, self.bootstrap, "percent"))
        return rows

    def rows(self, left_out: dict[str, int]) -> pd.DataFrame:
        """Tidy rows: CorLoc of the chosen setting, of restricted choices, and of all settings.

        Args:
            left_out: what the list of images and boxes left out, by the name of its metric.
        """
        rows = TidyRows(self.who, len(self.rest), self.statistics["seed"])

        def add(group: str, metric: str, hits: np.ndarray) -> None:
            rows.add("discovery", group, metric, *percent(self.bootstrap, hits), "percent")

        hits = self.by_image()
        add("lost", "corloc", hits["lost", "corloc"])
        _describe(rows, self.chosen)
        rows.add(
            "discovery", "lost_held_out", "corloc", 100 * self.hits[self.held, self.best].mean(),
            unit="percent", n=len(self.held),
        )  # fmt: skip
        add("lost", "seed_in_box", hits["lost", "seed_in_box"])
        for (group, metric), fixed in hits.items():
            if group != "lost":
                add(group, metric, fixed)
        for measurement in self.ties():
            rows.add("discovery", *measurement)
        for group, allowed in restrictions(self.settings).items():
            number = pick(self.hits[self.held], self.settings, allowed)
            add(group, "corloc", self.hits[self.rest, number])
        size = np.stack([self.store["width"].values, self.store["height"].values], 1)
        whole = located(np.concatenate([np.zeros_like(size), size], 1), self.truth)
        add("whole_image", "corloc", whole[self.rest])
        everywhere = 100 * self.hits[self.rest].mean(0)
        for metric, of in (("min", np.min), ("median", np.median), ("max", np.max)):
            rows.add(
                "discovery", "all_settings", f"corloc_{metric}", of(everywhere), unit="percent"
            )
        for metric, number in left_out.items():
            rows.add("discovery", "left_out", metric, number, unit=metric.split("_")[0])
        return rows.frame()

    def by_setting(self) -> pd.DataFrame:
        """CorLoc (%) under every setting: on the images that choose, and on those that report."""
        report = 100.0 * self.hits[self.rest]
        point, low, high, _ = self.bootstrap.ratio(report, np.ones((len(self.rest), 1)))
        table = pd.DataFrame(self.settings).assign(
            corloc_held_out=100 * self.hits[self.held].mean(0), corloc=point, low=low, high=high,
            chosen=[i == self.best for i in range(len(self.settings))],
        )  # fmt: skip
        return pd.DataFrame([self.who] * len(table)).join(table)

    def shown(self, count: int) -> list[str]:
        """Ids of at most so many of the images that report, spread evenly."""
        last = len(self.rest) - 1
        places = np.linspace(0, last, min(count, len(self.rest))).round().astype(int)
        return self.names[self.rest[places]].tolist()


def settings_of(store: xr.Dataset) -> list[Setting]:
    """The settings of a discovery store, in its order."""
    columns = (store[name].values for name in ("block", "facet", "normalised", "bias"))
    return [
        Setting(int(block), str(facet), bool(normalised), float(bias))
        for block, facet, normalised, bias in zip(*columns, strict=True)
    ]


def split(images: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the images that choose and of those that report, the same for all backbones."""
    order = np.random.default_rng(seed).permutation(images)
    count = min(max(1, round(held_out * images)), images - 2)
    return np.sort(order[:count]), np.sort(order[count:])


def pick(hits: np.ndarray, settings: list[Setting], allowed: Callable[[Setting], bool]) -> int:
    """The allowed setting with most hits (image, setting); of equals the first, which is nearest
    the published one.
    """
    score = [h if allowed(s) else -1 for h, s in zip(hits.sum(0), settings, strict=True)]
    return int(np.argmax(score))


def restrictions(settings: list[Setting]) -> dict[str, Callable[[Setting], bool]]:
    """Choices with one hand tied, by the name of their rows."""
    allowed: dict[str, Callable[[Setting], bool]] = {}
    for facet in dict.fromkeys(s.facet for s in settings):
        allowed[f"only_{facet}"] = _having("facet", facet)
    for block in dict.fromkeys(s.block for s in settings):
        allowed[f"only_block_{block}"] = _having("block", block)
    for normalised in dict.fromkeys(s.normalised for s in settings):
        name = "only_normalised" if normalised else "only_as_they_are"
        allowed[name] = _having("normalised", normalised)
    if any(s.bias == 0 for s in settings):
        allowed["only_unbiased"] = _having("bias", 0)
    return allowed


def _having(name: str, value: object) -> Callable[[Setting], bool]:
    """Whether a setting has this value of an attribute."""
    return lambda setting: getattr(setting, name) == value


def _describe(rows: TidyRows, setting: Setting) -> None:
    """The chosen setting as rows."""
    rows.add("discovery", "lost", "chosen_block", setting.block, unit="block, from 1")
    rows.add("discovery", "lost", f"chosen_facet_{setting.facet}", 1, unit="verdict")
    rows.add("discovery", "lost", "chosen_normalised", setting.normalised, unit="verdict")
    rows.add("discovery", "lost", "chosen_bias", setting.bias, unit="median squared norms")


def percent(bootstrap: Bootstrap, hits: np.ndarray) -> tuple[float, float, float]:
    """Percent of images (image,) with a hit, with its interval."""
    point, low, high, _ = bootstrap.ratio(100.0 * hits, np.ones(len(hits)))
    return point, low, high


def seed_in_box(store: xr.Dataset, truth: list[np.ndarray]) -> np.ndarray:
    """Whether the middle of the seed's patch lies in a true box, (image,) booleans.

    Args:
        store: a discovery store at one setting. truth: boxes (k, 4) of each of its images.
    """
    patch = store.attrs["patch"]
    columns = -(-store["width"].values // patch)
    row, column = np.divmod(store["seed"].values, columns)
    x, y = (column + 0.5) * patch, (row + 0.5) * patch
    return np.array([
        ((b[:, 0] <= u) & (u < b[:, 2]) & (b[:, 1] <= v) & (v < b[:, 3])).any()
        for u, v, b in zip(x, y, truth, strict=True)
    ])  # fmt: skip
