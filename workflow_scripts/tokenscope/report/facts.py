"""What a study knows of its backbones before anything is measured, for the verdicts.

Plain values, because they are a parameter of a rule; the fields of
:class:`tokenscope.verdicts.conditions.Facts`.
"""

from tokenscope.study.recipes import stem
from tokenscope.study.zoo import Backbone


def facts(study) -> dict:
    """Sizes, images seen in training, trainings alike but for the seed, seeds of heads, data sets.

    Args:
        study: a tokenscope.study.study.Study.
    """
    config, trained = study.config, [row for row in study.backbones if row.recipe]
    sets = {**study.discovery.sets, **study.dense.sets}
    rendered = [name for name, entry in study.datasets.items() if entry["type"] == "scenes"]
    rendered += [name for name, entry in sets.items() if entry["layout"] == "scenes"]
    probes = config.get("probes") or {}
    chosen = {probes[key]: probes["cutoffs"] for key in ("dataset", "test") if probes.get(key)}
    return {
        "params": {row.key: row.arch.params for row in study.backbones},
        "images_seen": {row.key: images_seen(study, row) for row in trained},
        "alike": _alike(study),
        "heads": {
            table: (config.get(section) or {}).get("seeds", 1)
            for table, section in (("claim4", "probes"), ("claim5", "heads"), ("dense", "dense"))
        },
        "rendered": rendered,
        "chosen_on": chosen,
    }


def images_seen(study, row: Backbone) -> float:
    """Images that a backbone trained here saw, as often as it saw them; fine-tuned: since then."""
    dataset = study.recipes[row.recipe]["dataset"]
    return float(study.training(row)["epochs"] * study.planned_images(dataset))


def _alike(study) -> dict[str, str]:
    """By backbone trained here, the name it shares with those that differ in their seed alone."""
    names: dict[tuple, str] = {}
    by_backbone = {}
    for row in study.trained:
        settings = {k: v for k, v in study.training(row).items() if k != "seed"}
        training = (row.recipe, row.base, row.timm_id, row.size, row.registers, repr(settings))
        name = "/".join((stem(row.family), row.size, row.registers))
        by_backbone[row.key] = names.setdefault(
            training, row.key if name in names.values() else name
        )
    return by_backbone
