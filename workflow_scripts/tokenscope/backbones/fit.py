"""Do weights files fit their architectures? Asked before a study is started.

``python -m tokenscope.backbones.fit`` reads pairs of spec and file as JSON and says what does not
fit, in a sentence.
"""

import json
import math
import subprocess
import sys

from tokenscope.errors import StudyError
from tokenscope.paths import SCRIPTS

MARK = "StudyError: "


def check(pairs: list[tuple[dict, str]]) -> list[str]:
    """Whether each file fits the backbone that its spec describes.

    In a process of its own: to open weights takes torch, and turns the hub's client offline.

    Returns:
        What is to be remarked on each file that fits, see :func:`other_size`; mostly nothing.

    Raises:
        StudyError: a line for each that does not fit.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tokenscope.backbones.fit"], input=json.dumps(pairs), cwd=SCRIPTS,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        told = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        raise StudyError("\n".join(told or lines[-1:]))
    return json.loads(done.stdout.splitlines()[-1])


def other_size(spec: dict, file: str) -> str:
    """A sentence where the positions of a file are those of other images than its ARCH has."""
    import torch

    from tokenscope.backbones.huggingface import official
    from tokenscope.backbones.loading import create
    from tokenscope.backbones.weights_file import read_weights

    with torch.device("meta"):
        model = create(spec)
    own = getattr(model, "pos_embed", None)
    learned = official(read_weights(spec["name"], file), spec["name"], model).get("pos_embed")
    if own is None or learned is None or learned.shape == own.shape or learned.ndim != own.ndim:
        return ""
    rows, columns = model.patch_embed.grid_size
    side = math.isqrt(max(0, learned.shape[1] - (own.shape[1] - rows * columns)))
    patch = model.patch_embed.patch_size[0]
    return (
        f"the weights hold positions of {side} x {side} patches, images of {side * patch} pixels, "
        f"but ARCH={spec['timm_id']} has {rows} x {columns}: they are shown {rows * patch} pixels, "
        "with positions resampled; an ARCH of the other size shows them theirs"
    )


def main() -> None:
    from tokenscope.backbones.loading import check_weights

    unfit, remarks = [], []
    for spec, file in json.load(sys.stdin):
        try:
            check_weights(spec, file)
            remarks.append(other_size(spec, file))
        except StudyError as error:
            unfit.append(f"{MARK}{error}")
    if unfit:
        sys.exit("\n".join(unfit))
    print(json.dumps(remarks))


if __name__ == "__main__":
    main()
