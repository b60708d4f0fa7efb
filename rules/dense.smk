# Dense tasks: linear heads for segmentation and depth, and how smooth maps of tokens are.

# What the job saw of the set's files; no output, as rules/data.smk says of its own.
MAPS_READ = PATHS.data("{dataset}", "maps/read.json")


rule index_targets:
    input:
        ancient(lambda w: DENSE.made_here(w.dataset)),
    output:
        listed=PATHS.data("{dataset}", "maps/images.csv"),
        receipt=PATHS.receipt("maps", "{dataset}"),
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
        source=lambda w: DENSE.layout(w.dataset),
        watch=lambda w: watch_of(DENSE.layout(w.dataset), MAPS_READ.format(dataset=w.dataset)),
        code=code("dense/index_targets.py"),
    script:
        "../workflow_scripts/dense/index_targets.py"


rule dense_head:
    input:
        card=PATHS.card(BACKBONE),
        listed=rules.index_targets.output.listed,
        facts=rules.index_targets.output.receipt,
    output:
        rows=PATHS.measure("dense", "{dataset}", BACKBONE),
        classes=PATHS.measure("dense", "{dataset}", BACKBONE, ending="classes.csv"),
        maps=PATHS.figure_data("dense", "{dataset}", f"{BACKBONE}.npz"),
        by_image=PATHS.measure("dense", "{dataset}", BACKBONE, ending="images.npz"),
        receipt=PATHS.receipt("dense", "{dataset}", BACKBONE),
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
        source=lambda w: DENSE.layout(w.dataset),
        spec=lambda w: row_of(w).spec,
        settings=lambda w: DENSE.settings(w.dataset),
        seed=lambda w: config["dense"]["seed"],
        seeds=lambda w: config["dense"]["seeds"],
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
        rows=PATHS.measure("smoothness", "{dataset}", BACKBONE),
        by_image=PATHS.measure("smoothness", "{dataset}", BACKBONE, ending="images.npz"),
    log:
        f"{RESULTS}/logs/smoothness/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/smoothness/{{dataset}}/{BACKBONE}.tsv"
    conda:
        LIGHT_ENV
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
            PATHS.figure_data("dense", w.dataset, f"{row.key}.npz")
            for row in on_page("{dataset}/dense/{family}", f"{w.dataset}/dense/{w.family}{w.page}")
        ],
    output:
        figure_files("{dataset}/dense/{family}{page}", like="{dataset}/dense/{family}"),
    log:
        f"{RESULTS}/logs/fig_dense/{{dataset}}/{{family}}{{page}}.log",
    wildcard_constraints:
        page=r"(/page\d+)?",
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
        DENSE.over(PATHS.measure("dense", "{dataset}", BACKBONE, ending="images.npz"))
        + over(PATHS.measure("smoothness", "{dataset}", BACKBONE, ending="images.npz")),
    output:
        PATHS.measure("dense", "pairs"),
    log:
        f"{RESULTS}/logs/dense_pairs/all.log",
    params:
        who=[STUDY.who(row, name) for name in DENSE.sets for row in DENSE.rows]
        + [STUDY.who(row, name) for name in config["analyse"] for row in STUDY.backbones],
        claim="dense",
        statistics=config["statistics"],
        code=code("tables/pairs.py"),


rule dense_classes:
    input:
        classes=DENSE.over(PATHS.measure("dense", "{dataset}", BACKBONE, ending="classes.csv")),
    output:
        classes=PATHS.table("dense_classes", "csv.gz"),
    log:
        f"{RESULTS}/logs/dense_classes/all.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


use rule provenance as provenance_dense with:
    input:
        cards=[PATHS.card(row.key) for row in DENSE.rows],
        receipts=DENSE.over(PATHS.receipt("dense", "{dataset}", BACKBONE)),
        samples=[PATHS.receipt("maps", name) for name in DENSE.sets],
    output:
        PATHS.table("backbones_dense"),
    log:
        f"{RESULTS}/logs/provenance/dense.log",


use rule gather as gather_dense with:
    input:
        rows=TABLES["dense"].parts,
        provenance=provenance_of("dense"),
        published=ancient(PUBLISHED),
    output:
        csv=table_file("dense"),
        text=PATHS.table("dense", "md"),
    log:
        f"{RESULTS}/logs/gather/dense.log",
    params:
        claim="dense",
        code=code("tables/gather.py", reads=[PUBLISHED, LABELS]),


rule dense:
    input:
        PATHS.table("dense") if DENSE.config else [],
        PATHS.table("dense_classes", "csv.gz") if DENSE.sets else [],
        [
            PATHS.figure(f"{name}/dense/{family}")
            for name in DENSE.sets
            for family in dict.fromkeys(row.family for row in DENSE.rows)
        ],
