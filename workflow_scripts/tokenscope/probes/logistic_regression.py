"""The other recipe for a class probe: logistic regression to its optimum, with a sweep of C.

Darcet et al. 2024, "Vision Transformers Need Registers" (https://arxiv.org/abs/2309.16588), speak
of a logistic regression where they classify images by single tokens: a check of how far Table 3 of
the main paper depends on its recipe.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tokenscope.errors import StudyError
from tokenscope.jobs.job import Interrupted
from tokenscope.probes.trainer import Data, Fit, Recipe, Window, evaluate

ITERATIONS = 200


def fit_logistic(
    data: Data,
    task,
    recipe: Recipe,
    penalties: list[float],
    stop: Callable[[], str] = lambda: "",
    progress: Callable[[int, int], None] = lambda done, total: None,
    **_,
) -> Fit:
    """Multinomial logistic regression by L-BFGS; the penalty C takes the place of the rate.

    The loss is scikit-learn's: sum of cross-entropies + |w|^2 / (2 C), the bias unpenalised. Of
    ``recipe`` nothing is used: without steps there is no rate, batch or patience.
    """
    groups, seeds = len(data.groups), len(data.train)
    weights = torch.zeros(groups, seeds, len(penalties), data.features, task.outputs)
    weights = weights.to(data.device)
    score = torch.zeros(groups, seeds, len(penalties))
    total, done = weights[..., 0, 0].numel(), 0
    for group in range(groups):
        for seed in range(seeds):
            for c, penalty in enumerate(penalties):
                if reason := stop():
                    raise Interrupted(f"{reason}: ended after {done} of {total} fits")
                w = weights[group, seed, c]
                w.copy_(_minimise(data, group, data.train[seed], task.outputs, penalty))
                done += 1
                progress(done, total)
    for window in data.windows():  # each is read once
        for seed, mask in enumerate(data.validation):
            stack = weights[:, seed].transpose(1, 2)
            for part in evaluate(window, mask, stack, task):
                score[:, seed] += part[task.criterion].sum(1).cpu()
    score /= data.validation.sum(1)[None, :, None]
    return Fit(weights, score, torch.zeros_like(score), score.mean(1).argmax(1))


def _minimise(data: Data, group: int, train: Tensor, classes: int, penalty: float) -> Tensor:
    w = torch.zeros(data.features, classes, device=data.device, requires_grad=True)
    count = int(train.sum())
    search = torch.optim.LBFGS(
        [w], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-10,
    )  # fmt: skip
    held = []  # held once where all rows are one window
    if len(data.spans) == 1:
        held = [_rows(next(iter(data.windows())), group, train)]

    def loss() -> Tensor:
        search.zero_grad()
        value = w[:-1].square().sum() / (2 * penalty * count)
        value.backward()
        total = value.detach()
        for x, y in held or (_rows(window, group, train) for window in data.windows()):
            part = F.cross_entropy(x @ w, y, reduction="sum") / count
            part.backward()
            total = total + part.detach()
        return total

    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # a line search needs more than TF32's 10 bits
    try:
        search.step(loss)
    finally:
        torch.set_float32_matmul_precision(usual)
    if not torch.isfinite(w).all():
        raise StudyError(f"the logistic regression with C = {penalty:g} diverged")
    return w.detach()


def _rows(window: Window, group: int, train: Tensor) -> tuple[Tensor, Tensor]:
    rows = train[window.rows].nonzero().flatten().to(window.tokens.device)
    return window.tokens[group].index_select(0, rows), window.target[group].index_select(0, rows)
