# Tables: tidy rows of all backbones, published figures beside ours, and what they rest on.


# What only joins small files or draws them takes seconds: it runs beside the controller.
localrules:
    gather,
    gather_controls,
    provenance,
    norm_curves,
    cosine_curves,
    probe_curves,
    provenance_bank,
    fig_maps,
    fig_qkv,
    fig_blocks,
    fig_norms,
    fig_cosine,
    fig_error_maps,
    fig_probe_norms,
    fig_sensitivity,


rule gather:
    input:
        rows=measures_of,
        provenance=provenance_of,
        published="config/published.csv",
    output:
        csv=table_file("{table}"),
        text=f"{RESULTS}/tables/{{table}}.md",
    log:
        f"{RESULTS}/logs/gather/{{table}}.log",
    wildcard_constraints:
        table="claim1|claim2|claim3|claim4|claim5|sensitivity|registers",
    conda:
        ENV
    params:
        claim="{table}",
        code=code("tables/gather.py"),
    script:
        "../workflow_scripts/tables/gather.py"


use rule gather as gather_controls with:
    input:
        rows=[f"{RESULTS}/measures/control/{name}/{row.key}.csv" for name, row in CONTROLLED],
        provenance=f"{RESULTS}/tables/backbones.csv",
        published="config/published.csv",
    output:
        csv=table_file("controls"),
        text=f"{RESULTS}/tables/controls.md",
    log:
        f"{RESULTS}/logs/gather/controls.log",
    params:
        claim="control",
        code=code("tables/gather.py"),


# What every table rests on: weights, data config, images used and images skipped.
rule provenance:
    input:
        cards=expand(
            f"{RESULTS}/backbones/{{key}}/card.json", key=[row.key for row in STUDY.chosen]
        ),
        receipts=all_receipts(),
        samples=expand(f"{RESULTS}/receipts/sample/{{name}}.json", name=config["analyse"]),
    output:
        f"{RESULTS}/tables/backbones.csv",
    log:
        f"{RESULTS}/logs/provenance/backbones.log",
    conda:
        ENV
    params:
        code=code("tables/provenance.py"),
    script:
        "../workflow_scripts/tables/provenance.py"


# The same for the data set of the probes, which is another and a larger one.
use rule provenance as provenance_bank with:
    input:
        cards=probed(f"{RESULTS}/backbones/{BACKBONE}/card.json"),
        receipts=[r for row in STUDY.probing.rows for r in features_of(BANK, row)],
        samples=[f"{RESULTS}/receipts/sample/{BANK}.json"],
    output:
        f"{RESULTS}/tables/bank.csv",
    log:
        f"{RESULTS}/logs/provenance/bank.log",
