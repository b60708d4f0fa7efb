"""Count how often the instrument errs on draws with a known answer: one number of images."""

import pandas as pd

from tokenscope.calibration import counting
from tokenscope.jobs.job import job


def main(settings, images, patches, code, output):
    """Write a row for each cell: what was drawn, and how often which answer was given.

    Args:
        settings: the study's section ``calibration``.
        images, patches: of each draw.
        code: hash of the code that decides, kept with the numbers.
        output: CSV to write, columns of :data:`tokenscope.calibration.counting.COLUMNS`.
    """
    s = settings
    draws, seed, spreads = s["draws"], s["seed"], s["spreads"]
    few = images * patches <= s["every_up_to"]
    parts = [
        counting.nulls(images, patches, [*spreads, *s["wide_spreads"]], draws, seed),
        counting.modes(
            images, patches, spreads, s["ratios"], [share / 100 for share in s["shares"]],
            s["every"] if few else [1], draws, seed,
        ),
    ]  # fmt: skip
    if patches == min(s["patches"]):  # these draw patches of their own
        parts += [
            counting.intervals(images, 5 * draws, seed),
            counting.place_or_content(images, draws, seed),
        ]
    rows = [row for part in parts for row in part]
    table = pd.DataFrame(rows, columns=counting.COLUMNS)
    table.assign(form=s["form"], code=code).to_csv(output, index=False)


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"calibrate {w.images} x {w.patches}", snakemake.threads):
        main(
            settings=p.settings, images=int(w.images), patches=int(w.patches), code=p.decides,
            output=snakemake.output[0],
        )  # fmt: skip
