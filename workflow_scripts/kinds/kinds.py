"""Every kind of artifact of one backbone, on a few hundred images: observed, and by experiment."""

import numpy as np
import pandas as pd

from tokenscope.backbones.loading import open_backbone
from tokenscope.errors import StudyError
from tokenscope.forward.device import pick_device
from tokenscope.images.geometry import Geometry
from tokenscope.images.readers import ImageInputs, StreamedImages
from tokenscope.jobs.job import job, log
from tokenscope.kinds.answers import answers, at_another_size, does_not_apply, tidy_rows
from tokenscope.kinds.locality import boxes_on_grid
from tokenscope.kinds.measure import Images, Known, Measure, holding
from tokenscope.kinds.shift_test import margin
from tokenscope.norms.artifacts import judge
from tokenscope.norms.token_norms import PatchNorms
from tokenscope.stats.bootstrap import Bootstrap
from tokenscope.stores.receipts import read_receipt, weights_of
from tokenscope.stores.zarr_store import open_store
from tokenscope.tables import tidy

HIGH_NORM = "high-norm"  # of tokenscope.kinds.answers.KINDS
FEWEST = 8  # images: fewer cannot be compared with each other


def main(card, receipts, spec, inputs, settings, truth, labelled, who, statistics, device, threads,
         output):  # fmt: skip
    """Write tidy rows of all kinds, with the columns of tokenscope.kinds.answers beside.

    One parameter for each input and param of the rule.

    Args:
        card: of the backbone. receipts: of its token store, one for each shard.
        spec: of the backbone, as the table of backbones gives it.
        inputs: where its images are (:class:`tokenscope.images.readers.ImageInputs`), in the
            store's order.
        settings: the study's section ``kinds``, with the ``second_size`` of this backbone or none.
        truth: store of the ground truth of scenes that are seen whole, with their boxes, or empty.
        labelled: whether the backbone's head knows the classes of the images.
        who, statistics: columns that name the backbone; the study's section of that name.
        device: ``auto``, ``cuda`` or ``cpu``. threads: that read images.
        output: CSV to write.
    """
    card, device = read_receipt(card), pick_device(device)
    tokens = PatchNorms.open(receipts)
    norms, shape = tokens.norms(), Geometry.parse(inputs.geometry)
    judgement = judge(norms, confidence=statistics["confidence"])
    if len(norms) < FEWEST:
        raise StudyError(f"kinds: {len(norms)} images are too few to compare, {FEWEST} are needed")
    count, seed = min(settings["images"], len(norms)), statistics["seed"]
    chosen = np.linspace(0, len(norms) - 1, count).round().astype(int)
    held = holding(Known.of(judgement, norms), settings["images"], seed)
    weights, reader = weights_of(card), inputs.open(threads)

    def resized(size, images):
        """Reader of these images with the same field of view at another size."""
        resize = round(shape.resize * size / shape.size)
        other = Geometry(size, resize, shape.interpolation, shape.mode)
        rows = inputs.rows.iloc[images].reset_index(drop=True)
        return StreamedImages(inputs.root, rows, other, threads)

    def measure_of(model, images, read, grid):
        shown = Images(
            len(images), read, spec["mean"], spec["std"],
            tokens.read("label")[images] if labelled and "label" in tokens else None,
            boxes_on_grid(open_store(truth), images, grid) if truth else None,
        )  # fmt: skip
        known, over = Known.of(judgement, norms, images), Bootstrap.of(len(images), statistics)
        return Measure(model, shown, known, over, settings["batch"])

    def native(images):
        return lambda start, stop: np.concatenate(
            [reader.read(row, row + 1) for row in images[start:stop]]
        )

    model = open_backbone(spec, weights, shape.size, device)
    patch = model.patch_embed.patch_size[0]
    measure = measure_of(model, chosen, native(chosen), tokens.grid)
    found = [*measure.observed(), *measure.registers_replaced()]
    # Few of the images as they come may hold outliers: what is asked of these is asked elsewhere.
    asked = held if len(held) else chosen
    measure = measure_of(model, asked, native(asked), tokens.grid)
    larger = resized(shape.size + margin(patch), asked)
    of_outliers = [
        *measure.of_outliers(), *measure.outliers_replaced(), *measure.shifted(larger.read)
    ]  # fmt: skip
    larger.close()
    if second := settings["second_size"]:
        other = open_backbone(spec, weights, second, device)
        read = resized(second, chosen)
        beside = measure_of(other, chosen, read.read, tokens.grid)
        pair = [judge(n, confidence=statistics["confidence"])
                for n in (norms[chosen], beside.norms())]  # fmt: skip
        read.close()
        found += at_another_size(*pair, (shape.size, second))
    else:
        why = "no other size is asked for (config key: kinds: second_size)"
        found.append(does_not_apply("resolution", "share_at_the_other_size", why))
    reader.close()
    for kind, said in answers([*found, *of_outliers]).items():
        log.info("%s: %s: %s", kind, said.answer, said.why)
    rows = [tidy_rows(found, who, count, seed), tidy_rows(of_outliers, who, len(asked), seed)]
    tidy.write(with_all_images(pd.concat(rows), len(norms)), output)


def with_all_images(rows, images):
    """The rows, where ``n`` of high norms is all images: that answer is claim 1's, of all."""
    return rows.assign(n=rows["n"].mask(rows["artifact"] == HIGH_NORM, images))


if "snakemake" in globals():
    w, p, i = snakemake.wildcards, snakemake.params, snakemake.input
    label = f"kinds {w.dataset} {w.family}/{w.size}/{w.registers}"
    with job(snakemake.log[0], label, snakemake.threads):
        main(
            card=i.card, receipts=i.tokens, spec=p.spec, inputs=ImageInputs(**p.images),
            settings=p.settings, truth=p.truth, labelled=p.labelled, who=p.who,
            statistics=p.statistics, device=p.device, threads=snakemake.threads,
            output=snakemake.output[0],
        )  # fmt: skip
