"""Find the released weights of a backbone, check that they fit, and note them on a card.

Looked for in this order: the file named in the backbone's row, the weights folder of the study,
the cache, the hub. Nothing but this job uses the network.
"""

from pathlib import Path

from tokenscope.backbones import hub
from tokenscope.cards import hub_folder, weights_files
from tokenscope.config_file.needs import find_weights
from tokenscope.errors import StudyError
from tokenscope.jobs.job import job, log
from tokenscope.stores.receipts import sha256_weights, write_receipt


def main(spec, weights, folder, download, cache, card):
    """Write ``card.json``: path, checksum and origin of the weights, and their revision on the hub.

    Args:
        spec: how the backbone is opened.
        weights: file named in the backbone's row; empty where none is.
        folder: the study's folder of weights, or None.
        download: whether the hub may be asked.
        cache: folder of downloaded weights.
        card: JSON file.

    Raises:
        StudyError: no weights anywhere (the message lists the places), or they do not fit.
    """
    file, origin = find(spec, weights, folder, cache)
    if file is None:
        if not download:
            raise StudyError(missing(spec, weights, folder, cache, "weights: download is false"))
        file, origin = fetch(spec, weights, folder, cache), "hub"
    # After the download: this import puts the hub client offline for good.
    from tokenscope.backbones.loading import check_weights

    weights_files.check(file)
    checksum = sha256_weights(file)
    known = hub.noted(file, checksum)
    check_weights(spec, file)
    log.info("%s from %s (%s)", spec["timm_id"], file, origin)
    write_receipt(
        card, name=spec["name"], timm_id=spec["timm_id"], weights=str(file), origin=origin,
        sha256=checksum, bytes=sum(part.stat().st_size for part in weights_files.files_of(file)),
        **known,
    )  # fmt: skip


def find(spec, weights, folder, cache):
    """A local file with the weights and where it came from, or ``(None, "")``."""
    if weights:
        fetched = hub_folder.repo_of(weights, cache)
        if not Path(weights).is_file():
            if fetched:
                return None, ""
            raise StudyError(f"{spec['name']}: the weights file of its row, {weights}, is missing")
        return Path(weights), "cache" if fetched else "row"
    return find_weights(spec["timm_id"], folder, cache)


def fetch(spec, weights, folder, cache):
    """Download into the cache, from timm's repository on the hub or the row's; it appears whole.

    What the hub's own client keeps is taken from there.
    """
    if own := hub_folder.repo_of(weights, cache):
        try:
            return hub.fetch(own, Path(weights).parent, Path(weights).name)
        except StudyError as reason:
            raise StudyError(f"{spec['name']}: no weights of {own}: {reason}") from None
    from timm.models import get_pretrained_cfg

    repo = get_pretrained_cfg(spec["timm_id"]).hf_hub_id
    if not repo:
        raise StudyError(f"{spec['name']}: timm names no repository for {spec['timm_id']}")
    if kept := hub_folder.kept(repo):
        return Path(kept)
    try:
        return hub.fetch(repo, Path(cache, spec["timm_id"]))
    except StudyError as reason:
        raise StudyError(missing(spec, weights, folder, cache, reason)) from None


def missing(spec, weights, folder, cache, reason):
    """What to say when there are no weights."""
    places = [f"{place}/{spec['timm_id']}.safetensors" for place in (folder, cache) if place]
    return (
        f"{spec['name']}: no weights of {spec['timm_id']}: {reason}. Put them at "
        f"{' or '.join(places)}, or name a file in the column 'weights' of the backbone's row"
    )


if "snakemake" in globals():
    w, p = snakemake.wildcards, snakemake.params
    with job(snakemake.log[0], f"obtain {w.family}/{w.size}/{w.registers}"):
        main(
            spec=p.spec,
            weights=p.weights,
            folder=p.folder,
            download=p.download,
            cache=p.cache,
            card=snakemake.output[0],
        )
