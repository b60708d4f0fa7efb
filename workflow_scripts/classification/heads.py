"""Claim 5: accuracy of published, own and retrained heads of one backbone, under one view.

Everything is read from stored features; the backbone is not opened again.
"""

import numpy as np
import torch
from scipy import stats

from tokenscope.classification.features import read
from tokenscope.classification.knn import knn_ranks
from tokenscope.classification.linear import Recipe, ranks, train
from tokenscope.classification.published_heads import open_head
from tokenscope.errors import StudyError
from tokenscope.forward.device import pick_device
from tokenscope.jobs.job import Progress, StopRequest, job, log
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stats.top_k import TOP, Accuracy, Ranks
from tokenscope.stores.receipts import read_receipt
from tokenscope.stores.zarr_store import open_store, store_of
from tokenscope.tables import tidy
from tokenscope.tables.names import group_name

PARTS = ["cls", "patch_mean", "registers", "cls_blocks"]


def main(test, trained, splits, released, own, who, view, settings, statistics, device, partial,
         rows_file, ranks_file):  # fmt: skip
    """Write tidy rows and the rank of the right class of each test image.

    One parameter for each input, wildcard, param and output of the rule, but that ``released``
    pairs the cards with their groups.

    Args:
        test, trained: receipts of the feature stores; ``trained`` is empty where no head is to be
            trained here.
        splits: receipt that names the training images to leave out; None without training.
        released: cards of published heads, a list of ``(group, card)``.
        own: whether the head the backbone came with is scored.
        who: family, size, registers, kind and data set, as columns of every row.
        view: how the images are shown, of :data:`tokenscope.study.heads.VIEWS`.
        settings: the section ``heads`` of the study.
        statistics: the section of that name.
        device: ``cpu``, ``cuda`` or ``auto``.
        partial: file for the state of an interrupted run.
        rows_file, ranks_file: paths of the two outputs.
    """
    device = pick_device(device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32: features have 11 bits of their own
    stores = [store_of(path) for path in test]
    tested = read(stores, PARTS, settings["memory_gb"])
    by_head: dict[str, np.ndarray] = {}
    rows = tidy.TidyRows(who, len(tested), statistics["seed"])
    if own:
        by_head["own_head"] = own_ranks(stores, tested.labels.numpy())
    for group, card in released:
        weights, inputs = open_head(read_receipt(card), tested)
        by_head[group] = ranks(tested, inputs, weights[None], device).numpy()
    if trained:
        learn(by_head, rows, tested, trained, splits, settings, view, device, partial)
    named = {group_name(head, view): values for head, values in by_head.items()}
    bootstrap = Bootstrap.of(len(tested), statistics)
    for group, values in named.items():
        for metric, top in TOP.items():
            accuracy = Accuracy(values, top, bootstrap)
            ends = bootstrap.interval(accuracy.resampled)
            rows.add("claim5", group, metric, accuracy.value, *ends, "percent")
            if len(values) > 2:  # of two seeds Student's interval says nothing
                half = spread(accuracy.by_seed, statistics["confidence"])
                mean = accuracy.value
                rows.add(
                    "claim5", group, f"{metric}_over_seeds", mean, mean - half, mean + half,
                    "percent", n=len(values),
                )  # fmt: skip
        log.info("%s: top-1 %.2f %%", group, 100 * (values == 1).mean())
    tidy.write(rows.frame(), rows_file)
    Ranks(tested.ids, named).write(ranks_file)


def learn(by_head, rows, tested, trained, splits, settings, view, device, partial):
    """Train heads on the training set's features; adds to ``by_head`` and ``rows``."""
    features = read([store_of(path) for path in trained], PARTS[:3],
                    settings["memory_gb"], device_for(device, trained))  # fmt: skip
    left_out = set(read_receipt(splits)["dropped"])
    features = features.without(left_out) if left_out else features
    for metric, count in (("images", len(features)), ("images_left_out", len(left_out))):
        rows.add("claim5", "training", metric, count, unit="images", n=len(features))
    classes = int(max(features.labels.max(), tested.labels.max())) + 1
    numbers = ("epochs", "batch", "momentum", "validation", "seeds", "seed")
    recipe = Recipe(
        features=tuple(settings["features"]), learning_rates=tuple(settings["learning_rates"]),
        **{name: settings[name] for name in numbers},
    )  # fmt: skip
    stop = StopRequest()
    heads = train(features, classes, recipe, device, partial, stop, Progress("epochs"))
    for name, head in heads.items():
        by_head[name] = ranks(tested, name, head.weights, device).numpy()
        group = group_name(name, view)
        rate = head.rates[head.rate]
        best = head.validation[:, head.rate].mean()
        rows.add("claim5", group, "learning_rate", rate, unit="for a batch of 256")
        rows.add("claim5", group, "learning_rate_at_edge", head.at_edge, unit="verdict")
        rows.add("claim5", group, "validation_top1", best, unit="percent")
        if head.at_edge:
            log.info("%s: the best rate, %g, is an end of the sweep: widen it", name, rate)
    k, temperature = settings["neighbours"], settings["temperature"]
    for name in features.sets(("cls", "patch_mean")):
        votes = knn_ranks(features, tested, name, classes, k, temperature, device)
        by_head[f"knn_{name}"] = votes.numpy()


def device_for(device, receipts):
    """Where training features are kept: on the GPU where they take less than half of it."""
    if device != "cuda":
        return "cpu"
    sizes = [
        np.prod(array["shape"]) * 4
        for path in receipts
        for name, array in read_receipt(path)["arrays"].items()
        if name in PARTS
    ]
    return "cuda" if sum(sizes) < torch.cuda.mem_get_info()[0] / 2 else "cpu"


def own_ranks(stores, labels):
    """Ranks (1, image) of the right class by the backbone's own head; 6 stands for all beyond 5."""
    shards = [open_store(store) for store in stores]
    if "top5" not in shards[0]:
        raise StudyError(f"{stores[0]} has no guesses of the backbone's own head")
    hit = np.concatenate([shard["top5"].values for shard in shards]) == labels[:, None]
    return np.where(hit.any(1), hit.argmax(1) + 1, hit.shape[1] + 1)[None]


def spread(by_seed, confidence):
    """Half the width of Student's interval of a mean over seeds."""
    quantile = stats.t.ppf((1 + confidence) / 2, len(by_seed) - 1)
    return quantile * by_seed.std(ddof=1) / np.sqrt(len(by_seed))


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    with job(
        snakemake.log[0], f"heads {w.family}/{w.size}/{w.registers} {w.view}", snakemake.threads
    ):
        main(
            test=i.test, trained=i.get("trained", []), splits=i.get("splits"),
            released=list(zip(p.groups, i.get("released", []), strict=True)), own=p.own, who=p.who,
            view=w.view, settings=p.settings, statistics=p.statistics, device=p.device,
            partial=p.partial, rows_file=out.rows, ranks_file=out.ranks,
        )  # fmt: skip
