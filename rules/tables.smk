# Tables: tidy rows of all backbones, published figures beside ours, and what they rest on.


# What only joins small files or draws them takes seconds: it runs beside the controller.
localrules:
    gather,
    gather_controls,
    by_kind,
    paper_tables,
    provenance,
    norm_curves,
    cosine_curves,
    probe_curves,
    provenance_bank,
    fig_maps,
    fig_qkv,
    fig_blocks,
    fig_pairs,
    fig_norms,
    fig_attention_norms,
    fig_probe_tables,
    fig_cosine,
    fig_error_maps,
    fig_probe_norms,
    fig_sensitivity,


rule gather:
    input:
        rows=measures_of,
        provenance=lambda w: provenance_of(w.table),
        published=ancient(PUBLISHED),
    output:
        csv=table_file("{table}"),
        text=PATHS.table("{table}", "md"),
    log:
        f"{RESULTS}/logs/gather/{{table}}.log",
    wildcard_constraints:
        table="claim1|claim2|claim3|claim4|claim5|sensitivity|registers|kinds",
    conda:
        LIGHT_ENV
    params:
        claim="{table}",
        code=code("tables/gather.py", reads=[PUBLISHED, LABELS]),
    script:
        "../workflow_scripts/tables/gather.py"


use rule gather as gather_controls with:
    input:
        rows=TABLES["controls"].parts,
        provenance=provenance_of("controls"),
        published=ancient(PUBLISHED),
    output:
        csv=table_file("controls"),
        text=PATHS.table("controls", "md"),
    log:
        f"{RESULTS}/logs/gather/controls.log",
    params:
        claim="control",
        code=code("tables/gather.py", reads=[PUBLISHED, LABELS]),


# What no single backbone answers: above and below 300 M parameters, trained with iBOT or without.
rule by_kind:
    input:
        claim1=PATHS.table("claim1"),
        claim4=[PATHS.table("claim4")] if STUDY.probing.rows else [],
        provenance=[
            provenance_of(name)
            for name in ("claim1", "claim4")
            if name == "claim1" or STUDY.probing.rows
        ],
    output:
        csv=table_file("by_kind"),
        text=PATHS.table("by_kind", "md"),
    log:
        f"{RESULTS}/logs/by_kind/by_kind.log",
    conda:
        LIGHT_ENV
    params:
        params={row.key: row.arch.params for row in STUDY.backbones if row.kind == "none"},
        confidence=config["statistics"]["confidence"],
        code=code("tables/by_kind.py", reads=[LABELS]),
    script:
        "../workflow_scripts/tables/by_kind.py"


# Claims behind the main paper's tables; claim 4 is none where nothing is probed.
PRINTED = ["claim4", "claim5"] if STUDY.probing.rows else ["claim5"]


# Tables 1 to 5 of the main paper as LaTeX, published beside ours.
rule paper_tables:
    input:
        claims=[PATHS.table(name) for name in PRINTED],
        provenance=[provenance_of(name) for name in PRINTED],
        published=ancient(PUBLISHED),
    output:
        **{name: PATHS.table(name, "tex") for name in paper_tables.TABLES},
    log:
        f"{RESULTS}/logs/paper_tables/paper_tables.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/paper_tables.py", reads=[PUBLISHED, LABELS]),
    script:
        "../workflow_scripts/tables/paper_tables.py"


# What every table rests on: weights, data config, images used and images skipped.
rule provenance:
    input:
        cards=list(dict.fromkeys(PATHS.card(row.key) for _, row in STUDY.passes)),
        receipts=all_receipts(),
        samples=list(dict.fromkeys(PATHS.receipt("sample", name) for name, _ in STUDY.passes)),
    output:
        PATHS.table("backbones"),
    log:
        f"{RESULTS}/logs/provenance/backbones.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/provenance.py"),
    script:
        "../workflow_scripts/tables/provenance.py"


# The same for the data set of the probes, which is another and a larger one.
use rule provenance as provenance_bank with:
    input:
        cards=probed(PATHS.card(BACKBONE)),
        receipts=[
            receipt
            for row in STUDY.probing.rows
            for name in STUDY.probing.datasets
            for receipt in STUDY.feature_receipts(name, row)
        ],
        samples=[PATHS.receipt("sample", name) for name in STUDY.probing.datasets],
    output:
        PATHS.table("bank"),
    log:
        f"{RESULTS}/logs/provenance/bank.log",
