# Dense tasks: linear heads for segmentation and depth, and how smooth maps of tokens are.


rule index_targets:
    input:
        lambda w: DENSE.made_here(w.dataset),
    output:
        listed=f"{RESULTS}/data/{{dataset}}/maps/images.csv",
        receipt=f"{RESULTS}/receipts/maps/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/index_targets/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_targets/{{dataset}}.tsv"
    wildcard_constraints:
        dataset=DENSE.names,
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=megabytes("index_targets"),
        runtime=minutes("index_targets"),
    params:
        source=lambda w: DENSE.source(w.dataset),
        code=code("dense/index_targets.py"),
    script:
        "../workflow_scripts/dense/index_targets.py"


rule dense_head:
    input:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        listed=rules.index_targets.output.listed,
        facts=rules.index_targets.output.receipt,
    output:
        rows=f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.csv",
        classes=f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.classes.csv",
        maps=f"{RESULTS}/figures/data/dense/{{dataset}}/{BACKBONE}.npz",
        by_image=f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.images.npz",
        receipt=f"{RESULTS}/receipts/dense/{{dataset}}/{BACKBONE}.json",
    log:
        f"{RESULTS}/logs/dense_head/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dense_head/{{dataset}}/{BACKBONE}.tsv"
    wildcard_constraints:
        dataset=DENSE.names,
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("dense_head"),
        runtime=minutes("dense_head"),
    params:
        source=lambda w: DENSE.source(w.dataset),
        spec=lambda w: row_of(w).spec,
        settings=lambda w: DENSE.settings(w.dataset),
        seed=lambda w: config["dense"]["seed"],
        shown=lambda w: config["dense"]["figure_images"],
        who=who,
        statistics=config["statistics"],
        device=config["device"],
        partial=f"{RESULTS}/partial/dense/{{dataset}}/{BACKBONE}",
        code=code("dense/dense_head.py"),
    script:
        "../workflow_scripts/dense/dense_head.py"


rule smoothness:
    input:
        receipts=receipts_of,
    output:
        rows=f"{RESULTS}/measures/smoothness/{{dataset}}/{BACKBONE}.csv",
        by_image=f"{RESULTS}/measures/smoothness/{{dataset}}/{BACKBONE}.images.npz",
    log:
        f"{RESULTS}/logs/smoothness/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/smoothness/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("smoothness"),
        runtime=minutes("smoothness"),
    params:
        who=who,
        images=lambda w: config["dense"]["smoothness"]["images"],
        statistics=config["statistics"],
        code=code("dense/smoothness.py"),
    script:
        "../workflow_scripts/dense/smoothness.py"


localrules:
    fig_dense,
    dense_classes,
    dense_pairs,
    provenance_dense,
    gather_dense,


rule fig_dense:
    input:
        lambda w: [
            f"{RESULTS}/figures/data/dense/{w.dataset}/{row.key}.npz"
            for row in DENSE.rows
            if row.family == w.family
        ],
    output:
        figure_files("{dataset}/dense/{family}"),
    log:
        f"{RESULTS}/logs/fig_dense/{{dataset}}/{{family}}.log",
    wildcard_constraints:
        dataset=DENSE.names,
    conda:
        ENV
    params:
        depth=lambda w: DENSE.sets[w.dataset]["task"] == "depth",
        names=lambda w: DENSE.sets[w.dataset].get("names", []),
        code=code("dense/fig_dense.py"),
    script:
        "../workflow_scripts/dense/fig_dense.py"


use rule discovery_pairs as dense_pairs with:
    input:
        DENSE.over(f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.images.npz")
        + over(f"{RESULTS}/measures/smoothness/{{dataset}}/{BACKBONE}.images.npz"),
    output:
        f"{RESULTS}/measures/dense/pairs.csv",
    log:
        f"{RESULTS}/logs/dense_pairs/all.log",
    params:
        who=[STUDY.who(row, name) for name in DENSE.sets for row in DENSE.rows]
        + [STUDY.who(row, name) for name in config["analyse"] for row in STUDY.chosen],
        claim="dense",
        statistics=config["statistics"],
        code=code("tables/pairs.py"),


rule dense_classes:
    input:
        classes=DENSE.over(f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.classes.csv"),
    output:
        classes=f"{RESULTS}/tables/dense_classes.csv.gz",
    log:
        f"{RESULTS}/logs/dense_classes/all.log",
    conda:
        ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


use rule provenance as provenance_dense with:
    input:
        cards=[f"{RESULTS}/backbones/{row.key}/card.json" for row in DENSE.rows],
        receipts=DENSE.over(f"{RESULTS}/receipts/dense/{{dataset}}/{BACKBONE}.json"),
        samples=[f"{RESULTS}/receipts/maps/{name}.json" for name in DENSE.sets],
    output:
        f"{RESULTS}/tables/backbones_dense.csv",
    log:
        f"{RESULTS}/logs/provenance/dense.log",


use rule gather as gather_dense with:
    input:
        rows=DENSE.over(f"{RESULTS}/measures/dense/{{dataset}}/{BACKBONE}.csv")
        + (
            over(f"{RESULTS}/measures/smoothness/{{dataset}}/{BACKBONE}.csv")
            + [rules.dense_pairs.output[0]]
            if DENSE.config
            else []
        ),
        # Smoothness alone rests on the tokens of the claims.
        provenance=(rules.provenance_dense if DENSE.sets else rules.provenance).output[0],
        published="config/published.csv",
    output:
        csv=table_file("dense"),
        text=f"{RESULTS}/tables/dense.md",
    log:
        f"{RESULTS}/logs/gather/dense.log",
    params:
        claim="dense",
        code=code("tables/gather.py"),


rule dense:
    input:
        f"{RESULTS}/tables/dense.csv" if DENSE.config else [],
        f"{RESULTS}/tables/dense_classes.csv.gz" if DENSE.sets else [],
        [
            f"{RESULTS}/figures/{name}/dense/{family}.png"
            for name in DENSE.sets
            for family in dict.fromkeys(row.family for row in DENSE.rows)
        ],
