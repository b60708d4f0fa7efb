"""What earlier jobs say about the cost model: how far it is off for each rule, and how surely.

The logarithm of measured over modelled seconds of a rule has a mean (the model's bias, shared by
all jobs of the rule) and a scatter (each job's own). Before any measurement the bias is zero within
a factor of two; measurements narrow it as in any normal model with a known prior.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

PRIOR = math.log(2)  # of the bias of a rule with a model
GUESS = math.log(3)  # of a time limit or a constant that stands in for a model
SCATTER = math.log(1.3)  # of one job about its rule, before any measurement
BETWEEN = math.log(1.25)  # runs differ as a whole: other users, file systems, hosts
WEIGHT = 2  # measurements that the prior scatter counts for
BESIDE = 2.0  # seconds of a small job beside the controller
Z90 = 1.645


@dataclass(frozen=True)
class Estimate:
    """Seconds of a job: the median, how it is known, and its uncertainties on the log scale."""

    seconds: float
    basis: str
    bias: float
    scatter: float


class Calibration:
    """Measurements by rule, and what follows from them."""

    def __init__(self):
        self.ratios: dict[str, list[float]] = defaultdict(list)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._energy: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def add(self, rule: str, seconds: float, modelled: float | None) -> None:
        """A finished job and what the model says of it."""
        if seconds > 0:
            self.seconds[rule].append(seconds)
            if modelled:
                self.ratios[rule].append(math.log(seconds / modelled))

    def add_energy(self, rule: str, joules: float, gpu_seconds: float) -> None:
        """Measured energy of GPUs."""
        j, s = self._energy[rule]
        self._energy[rule] = j + joules, s + gpu_seconds

    def watts(self, rule: str) -> float | None:
        """Mean measured power of one GPU in this rule's jobs; None without a measurement."""
        joules, seconds = self._energy[rule]
        return joules / seconds if seconds > 0 else None

    def estimate(self, rule: str, modelled: float | None, requested: float, beside: bool):
        """Median seconds of a job and their uncertainty.

        ``modelled``: by the cost model, or None; ``requested``: seconds of its time limit.
        """
        if modelled is not None:
            bias, bias_sd, scatter = _posterior(self.ratios[rule], PRIOR)
            n = len(self.ratios[rule])
            basis = f"model, {n} measured" if n else "model"
            return Estimate(modelled * math.exp(bias), basis, bias_sd, scatter)
        if measured := self.seconds[rule]:
            logs = [math.log(s) for s in measured]
            middle = sum(logs) / len(logs)
            _, bias_sd, scatter = _posterior([x - middle for x in logs], GUESS)
            return Estimate(math.exp(middle), f"mean of {len(logs)} measured", bias_sd, scatter)
        if beside or not requested:
            return Estimate(BESIDE, "small job", GUESS, SCATTER)
        return Estimate(requested, "time limit", GUESS, SCATTER)


def _posterior(ratios: list[float], prior: float) -> tuple[float, float, float]:
    """Mean and standard deviation of the bias, and the scatter, from log ratios and a prior."""
    n = len(ratios)
    if not n:
        return 0.0, prior, SCATTER
    mean = sum(ratios) / n
    scatter2 = WEIGHT * SCATTER**2 + sum((x - mean) ** 2 for x in ratios)
    scatter2 /= WEIGHT + n - 1
    precision = 1 / prior**2 + n / scatter2
    bias_sd = math.hypot(precision**-0.5, BETWEEN)
    return mean * n / scatter2 / precision, bias_sd, scatter2**0.5


def total(parts: list[tuple[str, Estimate, float]]) -> tuple[float, float, float]:
    """Sum with its 90 % interval: the bias is shared within a rule, the scatter is not.

    Args:
        parts: rule, estimate, and what a second of the job counts (its GPUs, say).
    """
    by_rule: dict[str, float] = defaultdict(float)
    biases, variance, sum_ = {}, 0.0, 0.0
    for rule, estimate, weight in parts:
        value = estimate.seconds * weight
        by_rule[rule] += value
        biases[rule] = estimate.bias
        sum_ += value
        variance += value**2 * math.expm1(estimate.scatter**2)
    variance += sum(v**2 * math.expm1(biases[rule] ** 2) for rule, v in by_rule.items())
    if sum_ <= 0:
        return 0.0, 0.0, 0.0
    spread = math.exp(Z90 * math.sqrt(math.log1p(variance / sum_**2)))
    return sum_, sum_ / spread, sum_ * spread
