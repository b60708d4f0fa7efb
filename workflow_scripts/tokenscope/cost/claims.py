"""Which claim or study of the papers each rule serves: the column ``claim`` of the accounting.

A table of its own, because neither the file a rule stands in nor the name of its log says so
reliably: files are cut and renamed. A test holds it against the rules.
"""

from collections.abc import Mapping

# Claim -> the rules that nothing else needs; targets of that name ask for all of a claim.
RULES = {
    "claim1": ("fig_maps", "fig_qkv", "fig_blocks", "fig_pairs", "fig_attention_norms"),
    "claim2": ("norms", "contrast", "norm_curves", "fig_norms"),
    "claim3": ("redundancy", "cosine_curves", "fig_cosine"),
    "claim4": (
        "probe", "sensitivity", "probe_curves", "fig_error_maps", "fig_probe_norms",
        "fig_sensitivity", "fig_probe_tables", "provenance_bank",
    ),
    "claim5": ("obtain_head", "splits", "heads", "gains", "fig_gains"),
    "discovery": (
        "index_boxes", "discover", "corloc", "discovery_pairs", "discovery_maps", "fig_discovery",
        "discovery_settings", "fig_lost_settings", "provenance_discovery", "gather_discovery",
    ),
    "dense": (
        "index_targets", "dense_head", "smoothness", "fig_dense", "dense_pairs", "dense_classes",
        "provenance_dense", "gather_dense",
    ),
    "training": (
        "train", "snapshots", "emergence", "gather_training", "register_counts", "training_curves",
        "fig_training", "fig_register_counts",
    ),
    "kinds": ("measure_kinds", "fig_kinds"),
    "testtime": (
        "neurons", "attach", "compare", "fig_registers", "fig_register_maps", "fig_attached",
    ),
    "shared": (
        "render", "index", "sample", "decode", "obtain", "plant", "extract", "features", "gallery",
        "consolidate", "provenance", "decision", "calibrate", "calibration", "fig_calibration",
        "control", "gather_controls", "overhead", "gather_overhead",
        "diagnosis", "diagnosis_page", "fig_diagnosis", "explorer", "verdict_errors", "deviations",
        "coverage", "by_kind", "paper_tables", "fig_published",
        "report",
        "accounting", "fig_energy",
    ),
}  # fmt: skip
# What one rule makes for several claims: by its wildcard ``table``.
TABLES = {
    "gather": {
        **{f"claim{n}": f"claim{n}" for n in range(1, 6)},
        "sensitivity": "claim4", "registers": "testtime", "kinds": "kinds",
    },
}  # fmt: skip
_CLAIMS = {rule: claim for claim, rules in RULES.items() for rule in rules}
TARGETS = [claim for claim in RULES if claim != "shared"]


def claim_of(rule: str, wildcards: Mapping[str, str] | None = None) -> str:
    """The claim a job belongs to; ``shared`` by several, ``unknown`` for a rule of other code.

    Args:
        wildcards: of the job; ``table`` decides for rules that serve one claim with each table.
    """
    if rule in TABLES:
        return TABLES[rule].get((wildcards or {}).get("table", ""), "unknown")
    return _CLAIMS.get(rule, "unknown")
