"""Claim 4, the config's section ``probes``: whose tokens, of which data set, with which draw.

The probes of "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), Tables 1-3.

Like the study itself asked while Snakemake builds the graph: pure arithmetic.
"""

from functools import cached_property

from tokenscope.errors import StudyError, nearest
from tokenscope.study import flops, zoo
from tokenscope.study.zoo import Backbone


class Probing:
    """Answers for the section ``probes`` of one study; without the section there is nothing to do.

    Args:
        study: a tokenscope.study.study.Study.

    Raises:
        StudyError: the section names a data set or backbone that does not exist, or cutoffs that
            will not be made.
    """

    def __init__(self, study):
        self.study = study
        self.settings = study.config.get("probes") or {}
        if not self.settings:
            return
        for key, known in (("dataset", study.datasets), ("cutoffs", study.config["analyse"])):
            if self.settings[key] not in known:
                have = ", ".join(known)
                name = self.settings[key]
                near = nearest(name, known)
                raise StudyError(f"probes: {key}: '{name}' is not one of: {have}{near}")
        varied = self.settings["sensitivity"]["backbones"]
        zoo.check_patterns("probes: backbones", self.settings["backbones"], study.named)
        zoo.check_patterns("probes: sensitivity: backbones", varied, study.named)
        if self.test:
            self._check_test()
        if abs(sum(self.settings["split"]) - 1) > 1e-6:
            raise StudyError(f"probes: split: {self.settings['split']} does not add up to 1")

    def _check_test(self) -> None:
        name, test = self.settings["dataset"], self.test
        if test not in self.study.datasets:
            have = ", ".join(self.study.datasets)
            raise StudyError(f"probes: test: '{test}' is not one of: {have}")
        if test == name:
            raise StudyError(f"probes: dataset and test are the same data set, '{test}'")
        classes = {key: self.study.classes(key) for key in (name, test)}
        if classes[name] != classes[test]:
            raise StudyError(
                f"probes: '{name}' has classes '{classes[name]}', '{test}' has '{classes[test]}': "
                "a probe of one cannot be tested on the other"
            )

    @property
    def test(self) -> str:
        """The data set whose images test the probes; empty where a share of the first does."""
        return self.settings.get("test") or ""

    @property
    def datasets(self) -> list[str]:
        """Data sets whose tokens are drawn: to train probes, and to test them if it is another."""
        return [name for name in (self.settings.get("dataset"), self.test) if name]

    def saw_labels(self, row: Backbone) -> bool:
        """Whether a backbone was trained or tuned with labels of the classes that are probed."""
        return bool(row.classes) and row.classes == self.study.classes(self.settings["dataset"])

    @cached_property
    def rows(self) -> list[Backbone]:
        """The backbones whose tokens are probed; none without the section."""
        return zoo.matching(self.study.backbones, self.settings.get("backbones", []))

    @cached_property
    def _keys(self) -> set[str]:
        return {row.key for row in self.rows}

    @cached_property
    def varied(self) -> list[Backbone]:
        """Those whose probes are repeated under other recipes."""
        patterns = self.settings.get("sensitivity", {}).get("backbones", [])
        return zoo.matching(self.rows, patterns)

    def bank(self, name: str, row: Backbone, view: str) -> dict:
        """How tokens of a data set are drawn for the probes; empty where none are wanted."""
        s = self.settings
        if name not in self.datasets or view != "native" or row.key not in self._keys:
            return {}
        return {"tokens": s["tokens_per_image"], "seed": s["seed"]}

    def memory_mb(self, gpu: bool) -> int:
        """Host memory of a probing job: what the budget lets it hold, and a copy under way."""
        row, s = max(self.rows, key=lambda row: row.arch.width), self.settings
        images = sum(self.study.planned_images(name) for name in self.datasets)
        tokens = images * (3 * s["tokens_per_image"] + row.arch.prefix_tokens)
        need = tokens * (4 * row.arch.width + 3 * row.arch.patch**2) / 1e6
        held = min(1000 * s["memory_gb"], need)
        return int(flops.torch_mb(gpu) + 3 * held)
