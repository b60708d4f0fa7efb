"""A pass that is killed and run again ends with the bytes of one that never was."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from tokenscope.acceptance.outcome import Said
from tokenscope.acceptance.setting import HALVES, Setting, extracted
from tokenscope.errors import StudyError
from tokenscope.extraction.loop import extract, variables
from tokenscope.paths import SCRIPTS
from tokenscope.stores.receipts import write_text
from tokenscope.stores.zarr_store import StoreWriter

PATIENCE = 120  # seconds for a few chunks


def resumed(setting: Setting) -> Said:
    """SIGKILL after some chunks, then the rest: checksums as of a whole pass."""
    setting = replace(setting, chunk=max(1, setting.images // 12))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder / "setting.json", json.dumps(asdict(setting)))
        *_, whole = extracted(setting, setting.model(), folder / "whole")
        done = _killed(folder)
        _, run, again = extracted(setting, setting.model(), folder / "killed")
    sums = [{k: v["xxh3_128"] for k, v in contents.items()} for contents in (whole, again)]
    differ = [key for key in sums[0] if sums[0][key] != sums[1].get(key)]
    text = f"killed after {done} chunks, {run['resumed_images']} of {setting.images} images kept"
    return Said(
        not differ and 0 < run["resumed_images"] < setting.images,
        f"{text}; arrays that differ: {', '.join(differ) or 'none'}",
    )


def _killed(folder: Path) -> int:
    """Chunks that were there when the process was killed."""
    command = [sys.executable, "-m", "tokenscope.acceptance.interruption", str(folder)]
    with subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True) as running:
        end, done = time.time() + PATIENCE, 0
        while done < 3 and running.poll() is None and time.time() < end:
            line = running.stdout.readline() if running.stdout else ""
            done += line.startswith("chunk")
        if running.poll() is not None:
            raise StudyError("the pass that should be killed ended by itself")
        running.send_signal(signal.SIGKILL)
    return done


class Slow(StoreWriter):
    """Says each chunk that is on disk, and takes its time."""

    def write(self, start: int, values: dict) -> None:
        """The same as of any writer."""
        super().write(start, values)
        print("chunk", start, flush=True)
        time.sleep(0.5)


def main(folder: str) -> None:
    """The pass that is killed."""
    setting = Setting(**json.loads(Path(folder, "setting.json").read_text()))
    model = setting.model()
    keep = {"tokens": True, "qkv": True, "logits": True}
    arrays = variables(model, model.patch_embed.grid_size, keep)
    place = Path(folder, "killed")
    writer = Slow(
        place / "store", place / "partial", arrays, setting.images, setting.chunk, "accept"
    )
    extract(model, setting.pixels, writer, HALVES, HALVES, setting.batch, setting.device)


if __name__ == "__main__":
    main(sys.argv[1])
