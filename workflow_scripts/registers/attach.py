"""A backbone with registers added at test time: a card that names its base and the neurons."""

import json
from pathlib import Path

from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import read_receipt, sha256_file, write_receipt, write_text


def main(neurons, base, spec, registers, kind, leaves, card, added):
    """Write ``added`` (JSON: base weights, neurons, registers) and the backbone's card.

    Args:
        neurons: JSON of the search on the base. base: card of the backbone without registers.
        spec: of the new backbone. registers: their number.
        kind: ``testtime``; ``random`` for the control neurons; ``zeroed`` for the same neurons,
            silenced at the patches and moved nowhere.
        leaves: what the patches keep of a moved neuron, ``zero`` or ``median``.
        card, added: paths to write.
    """
    search, base = read_receipt(neurons), read_receipt(base)
    moved = search["random" if kind == "random" else "neurons"]
    content = {
        "weights": base["weights"], "sha256": base["sha256"], "neurons": moved,
        "registers": registers if moved else 0, "leaves": leaves,
        "moves": kind != "zeroed",
    }  # fmt: skip
    write_text(added, json.dumps(content, indent=1) + "\n")
    reason = search["reason"] or f"{len(moved)} neurons of {search['name']}, chosen: {kind}"
    log.info("%s: %s", spec["name"], reason)
    write_receipt(
        card, name=spec["name"], timm_id=spec["timm_id"], weights=str(added),
        origin=f"{base['origin']} + {content['registers']} registers at test time ({kind})",
        sha256=sha256_file(added), bytes=Path(added).stat().st_size, reason=reason,
    )  # fmt: skip


if "snakemake" in globals():
    w, p, i, out = snakemake.wildcards, snakemake.params, snakemake.input, snakemake.output
    with job(snakemake.log[0], f"attach {w.family}/{w.size}/{w.registers}"):
        main(
            neurons=i.neurons, base=i.base, spec=p.spec, registers=p.registers, kind=p.kind,
            leaves=p.leaves, card=out.card, added=out.added,
        )  # fmt: skip
