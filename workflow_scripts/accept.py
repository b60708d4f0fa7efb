"""Ten minutes on one GPU that show whether this machine computes what is promised.

    python workflow_scripts/accept.py [--images FOLDER] [--out results/accept] [--quick]

Behind `make accept`. Without a GPU it tries what it can on the CPU and lists what it could not.
Writes `accept.md` and `accept.json`.
"""

import argparse
import json
import sys
from pathlib import Path

from tokenscope.acceptance import energy, interruption, numerics, processes, speed, workflow
from tokenscope.acceptance.outcome import Check, Said, as_json, as_table, gpus, tried
from tokenscope.acceptance.setting import standard, waiting_for_launches
from tokenscope.stores.receipts import write_text

BENCHMARKS = ("extraction", "probes", "lost", "heads", "training")


def checks(device, out, images, quick):
    """The promises, those of seconds first."""
    setting = standard(device)
    seconds = [
        Check("repeatable", "two passes give the same bits", lambda: numerics.repeatable(setting)),
        Check("no race", "a pass that waits for the device at each batch gives the same bits",
              lambda: numerics.no_race(setting), gpus=1),
        Check("precision", "bfloat16 within 1 % (norms, cosines), 2 % (attention), 5 % (tokens, q, "
              "k, v) of float32", lambda: numerics.precision(setting)),
        Check("CUDA graph", "batches as a graph within what bfloat16 rounds (key extract: "
              "cuda_graphs)", lambda: numerics.cuda_graph(waiting_for_launches()), gpus=1),
        Check("own head", "logits are float32", lambda: numerics.own_head(setting)),
        Check("memory", "memory that runs out halves the batch and changes nothing",
              lambda: numerics.halving(setting)),
        Check("LOST", "over 99.9 % of patches as on a CPU", lambda: numerics.lost(setting), gpus=1),
        Check("neurons", "scores within 0.2 % of float32", lambda: numerics.neurons(setting),
              gpus=1),
        Check("interruption", "killed and resumed: the same checksums",
              lambda: interruption.resumed(setting)),
        Check("energy", "counter within 10 % of sampled power", energy.counter, gpus=1),
        Check("two processes", "NCCL (gloo on a CPU): losses within 1 % of one process",
              lambda: processes.together("cuda" if gpus() > 1 else "cpu")),
        Check("two GPUs", "the same on two devices", lambda: processes.together("cuda"), gpus=2),
    ]  # fmt: skip
    if quick:
        return seconds
    found = []

    def published(number):
        if not images:
            return Said(None, "needs IMAGES=<folder of ImageNet's validation set> and the network")
        if not found:
            found.extend(workflow.literature(out / "released", images))
        return found[number]

    minutes = [
        Check("demo", "shares within 0.2 points, norms 1 %, CorLoc 2 points, the same verdicts as "
              "on a CPU", lambda: workflow.demo(out / "demo", Path("results/demo")), gpus=1),
        *(Check(f"released {number + 1}", known.words, lambda number=number: published(number),
                gpus=1) for number, known in enumerate(workflow.LITERATURE)),
        Check("released peak", "outliers of DINOv2-B peak after its ninth block",
              lambda: published(len(workflow.LITERATURE)), gpus=1),
        *(Check(f"speed: {name}", "its targets (tests/bench)",
                lambda name=name: speed.section(name, out / "bench"), gpus=1)
          for name in BENCHMARKS),
    ]  # fmt: skip
    return [*seconds, *minutes]


def main(out, images, quick):
    """Try all, write both files, and return how many promises were missed.

    Args:
        out: folder for the table and the JSON file.
        images: folder of ImageNet's validation set for released weights, or empty.
        quick: leave out what takes minutes.
    """
    device, out = "cuda" if gpus() else "cpu", Path(out)
    print(f"on {device}:")
    outcomes = tried(checks(device, out, images, quick), gpus())
    facts = as_json(outcomes)
    write_text(out / "accept.md", as_table(outcomes))
    write_text(out / "accept.json", json.dumps(facts, indent=1) + "\n")
    print(f"{facts['kept']} kept, {facts['missed']} missed, {facts['open']} open: {out}/accept.md")
    return facts["missed"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make accept", description=__doc__)
    parser.add_argument("--images", default="", help="folder of ImageNet's validation set")
    parser.add_argument("--out", default="results/accept", help="folder for the answers")
    parser.add_argument("--quick", action="store_true", help="only what takes seconds")
    given = parser.parse_args()
    sys.exit(1 if main(given.out, given.images, given.quick) else 0)
