"""`make diagnose` on real photographs, as a user runs it; about six minutes on two cores.

python tests/helpers/slow_diagnose.py
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("TOKENSCOPE_REAL_DATA", ROOT.parent / "shared"))
TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
EXPECTED = (
    "has artifacts: yes; position, not content: the four corners; from block 8; 2 % of tokens"
)


def photographs(folder, count, reverse=False):
    """Links to photographs; in reverse, their names put them in the opposite order."""
    folder.mkdir()
    with open(REAL / "data" / "imagenet-sample" / "index.csv", newline="") as handle:
        names = [row["file"] for row in csv.DictReader(handle)][:: 400 // count][:count]
    for i, name in enumerate(names):
        place = count - i if reverse else i
        (folder / f"{place:03d}.JPEG").symlink_to(REAL / "data" / "imagenet-sample" / name)
    return folder


def diagnose(name, images, *more, ok=True):
    """Run it; returns the sentence on the first backbone, or what it said on standard error."""
    shutil.rmtree(ROOT / "results" / f"diagnose-{name}", ignore_errors=True)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "workflow_scripts/diagnose.py", "--name", name, "--images", str(images),
         "--weights", str(REAL / "weights"), *(() if "--model" in more else ("--model", TINY)),
         *more],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    print(f"{name}: {time.monotonic() - start:.0f} s, status {done.returncode}")
    assert (done.returncode == 0) == ok, done.stderr[-3000:]
    messages = [line for line in done.stderr.splitlines() if line.startswith("diagnose: ")]
    if not ok:
        assert len(messages) == 1, messages
        print(f"  {messages[0]}")
        return messages[0]
    files = (ROOT / "results" / f"diagnose-{name}").glob("figures/data/diagnosis/*/mine/*/*.json")
    sentence = json.loads(next(files).read_text())["sentence"]
    print(f"  {sentence}")
    return sentence


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        fifty = photographs(scratch / "fifty", 50)
        assert diagnose("fifty", fifty) == EXPECTED
        assert diagnose("reversed", photographs(scratch / "back", 50, True)) == EXPECTED
        assert diagnose("batch", fifty, "--batch", "3") == EXPECTED
        half = diagnose("half", photographs(scratch / "half", 25))
        assert re.sub(r"; \S+ % of tokens", "", half) == EXPECTED.removesuffix("; 2 % of tokens")
        assert "3 images are too few" in diagnose("three", photographs(scratch / "three", 3))
        (scratch / "half" / "broken.jpg").write_bytes(b"no image")
        assert "broken.jpg" in diagnose("broken", scratch / "half", ok=False)
        weights = str(REAL / "weights" / TINY / "model.safetensors")
        wide = ("--model", weights, "--arch", "vit_small_patch16_224.augreg_in21k_ft_in1k")
        assert "shapes differ" in diagnose("wide", fifty, *wide, ok=False)
        (scratch / "none").mkdir()
        assert "no image" in diagnose("none", scratch / "none", ok=False)
        assert "no Vision Transformer" in diagnose(
            "resnet", fifty, "--model", "resnet18.a1_in1k", ok=False
        )
        diagnose("pair", fifty, "--against", weights, "--against-arch", TINY)
        page = (ROOT / "results" / "diagnose-pair" / "diagnosis.html").read_text()
        assert "Side by side" in page and "no difference shown" in page


if __name__ == "__main__":
    main()
