"""How many register neurons are moved at test time, and of which blocks: outliers gone, use kept.

Jiang et al., "Vision Transformers Don't Need Trained Registers" (https://arxiv.org/abs/2506.08010),
rank neurons and move the leading 10 or 50. Any of a few numbers may clear the outliers; they do not
cost the same. So each try is judged twice on the same images: by the share of outliers that is
left, and by how much of what the backbone computed is kept (:class:`Trial`). An image counts as 1
where nothing changed:

- own head: what the class probabilities before and after have in common, the sum over classes of
  the smaller of both (1 - total variation);
- without one: cosine of the pooled features before and after.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from tokenscope.backbones.test_time_registers import add_empty, move
from tokenscope.errors import StudyError
from tokenscope.forward.precision import autocast, exact

LEADING = 8  # so many of the leading candidates are also tried one by one
SURELY = 2.5  # standard errors of a paired difference: a dozen tries are compared
WORTH = 0.005  # of what is kept; a smaller gain is worth no neuron
Neurons = Sequence[tuple[int, int]]  # (block from 1, neuron)
Batches = Callable[[], Iterable[tuple[Tensor, np.ndarray]]]


@dataclass(frozen=True)
class Trial:
    """What some neurons, moved to one register, do on images.

    Attributes:
        neurons: the moved ones. how: ``leading`` so many of the ranking, ``changed`` one by one,
            or the name of a control.
        over: percent of each image's patches over the cutoff, in the block where most are (image,).
        kept: how much of what the backbone computed is kept (image,), at most 1.
        classes: class that the own head names (image,); None without one.
    """

    neurons: Neurons
    how: str
    over: np.ndarray
    kept: np.ndarray
    classes: np.ndarray | None = field(default=None, repr=False)

    @property
    def share(self) -> float:
        """Percent of all patches over the cutoff."""
        return float(self.over.mean())

    def summary(self) -> dict:
        """For a JSON file."""
        return {"neurons": len(self.neurons), "how": self.how, "share": self.share,
                "kept": float(self.kept.mean())}  # fmt: skip


class Trials:
    """Runs one backbone over the same images with any neurons moved; opens it twice, no more.

    Args:
        fresh: opens the backbone anew.
        batches: gives the images, normalised, batch by batch, with their numbers.
        cutoffs: norms over which a patch is an outlier, by block (block,).
        head: whether its own head is a classifier.
    """

    def __init__(
        self, fresh: Callable[[], nn.Module], batches: Batches, cutoffs: np.ndarray, head: bool
    ):
        self.batches, self.cutoffs, self.head = batches, cutoffs, head
        model = fresh()
        self.answers: np.ndarray | None = None
        self.before = self._run(model, (), "before")
        self.model = add_empty(model, 1)

    def __call__(self, neurons: Neurons, how: str = "leading", moves: bool = True) -> Trial:
        """Try some neurons; without ``moves`` they are silenced and moved nowhere."""
        hooks = move(self.model, list(neurons), 1, moves=moves)
        try:
            return self._run(self.model, neurons, how)
        finally:
            for hook in hooks:
                hook.remove()

    @torch.inference_mode()
    def _run(self, model: nn.Module, neurons: Neurons, how: str) -> Trial:
        over, answers = [], []
        for x, _ in self.batches():
            with _Norms(model) as norms, autocast(x.device):
                features = model.forward_features(x)
                with exact(x.device):
                    answer = model.forward_head(features.float(), pre_logits=not self.head)
            patches = norms.seen()[:, :, model.num_prefix_tokens :]
            over.append((patches > self.cutoffs[:, None]).mean(2))
            answer = answer.float().softmax(-1) if self.head else nn.functional.normalize(
                answer.float(), dim=-1)  # fmt: skip
            answers.append(answer.cpu().numpy())
        shares, answer = 100 * np.concatenate(over), np.concatenate(answers)
        if self.answers is None:
            self.answers = answer
        both = np.minimum if self.head else np.multiply
        kept = both(answer, self.answers).sum(1).astype(np.float64)
        classes = answer.argmax(1) if self.head else None
        return Trial(tuple(neurons), how, shares[:, shares.mean(0).argmax()], kept, classes)


class _Norms:
    """Norms of all tokens after every block, of one forward pass."""

    def __init__(self, model: nn.Module):
        self.blocks = model.blocks
        self.norms: list[Tensor] = []

    def __enter__(self) -> "_Norms":
        self.hooks = [
            block.register_forward_hook(
                lambda _module, _args, out: self.norms.append(
                    torch.linalg.vector_norm(out, dim=-1, dtype=torch.float32)
                )
            )
            for block in self.blocks
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self.hooks:
            hook.remove()

    def seen(self) -> np.ndarray:
        """(image, block, token)."""
        return torch.stack(self.norms, 1).cpu().numpy()


@torch.inference_mode()
def norms_of(model: nn.Module, batches: Batches) -> np.ndarray:
    """Norms of patches (image, block, patch) of all images."""
    seen = []
    for x, _ in batches():
        with _Norms(model) as norms, autocast(x.device):
            model.forward_features(x)
        seen.append(norms.seen()[:, :, model.num_prefix_tokens :])
    return np.concatenate(seen)


def surely_more(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether a quantity of the same images (image,) is surely larger, and by :data:`WORTH`."""
    gain = first - second
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(gain.mean() > max(WORTH, SURELY * error))


def numbers(most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 ... up to ``most``."""
    n = 1
    while n <= most:
        yield n
        if n > 1 and n + n // 2 <= most:
            yield n + n // 2
        n *= 2


def choose(
    trial: Callable[[Neurons, str], Trial], ranked: Neurons, most: int, min_share: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Trial, list[Trial]]:  # fmt: skip
    """The register neurons among ranked candidates, and everything that was tried.

    1. The leading 1, 2, 3, 4, 6, 8 ... of the ranking. Of those that leave fewer outliers than
       ``min_share`` the fewest count that keep not surely less than the one that keeps most.
    2. From there, one change after another, kept where outliers stay away and surely more is kept:
       a whole block is left out; each of the :data:`LEADING` first candidates is added or left out.

    Where no number clears the outliers, it is the one that leaves fewest.

    Args:
        trial: tries neurons. ranked: candidates, the best first. most: neurons tried at most.
        progress: told how many tries of how many are done.

    Raises:
        StudyError: nothing is ranked.
    """
    counts = list(numbers(min(most, len(ranked))))
    total, tried = len(counts) + min(LEADING, len(ranked)), []
    for count in counts:
        tried.append(trial(ranked[:count], "leading"))
        progress(len(tried), total)
    if not tried:
        raise StudyError("there is no candidate to choose from")
    clear = [t for t in tried if t.share < min_share]
    if not clear:
        return min(tried, key=lambda t: (t.share, len(t.neurons))), tried
    best = max(clear, key=lambda t: t.kept.mean())
    chosen = next(t for t in clear if not surely_more(best.kept, t.kept))
    blocks = sorted({block for block, _ in chosen.neurons})
    changes = [{n for n in chosen.neurons if n[0] == b} for b in blocks if len(blocks) > 1]
    changes += [{neuron} for neuron in ranked[: min(LEADING, most)]]
    for change in changes:
        moved = set(chosen.neurons) ^ change
        neurons = tuple(n for n in ranked if n in moved)
        if len(neurons) > most or any(set(neurons) == set(t.neurons) for t in tried) or not neurons:
            continue
        tried.append(trial(neurons, "changed"))
        progress(min(len(tried), total), total)
        if tried[-1].share < min_share and surely_more(tried[-1].kept, chosen.kept):
            chosen = tried[-1]
    progress(total, total)
    return chosen, tried
