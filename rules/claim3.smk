# Claim 3: do outlier tokens sit where neighbouring patches look alike (main paper, Fig 3)?
# The similarities themselves were taken in the extraction pass.


rule redundancy:
    input:
        receipts=receipts_of,
        cutoffs=rules.norms.output.cutoffs,
    output:
        rows=PATHS.measure("redundancy", "{dataset}", BACKBONE),
        curves=PATHS.measure("redundancy", "{dataset}", BACKBONE, ending="curves.csv"),
    log:
        f"{RESULTS}/logs/redundancy/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/redundancy/{{dataset}}/{BACKBONE}.tsv"
    conda:
        LIGHT_ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("redundancy"),
        runtime=minutes("redundancy"),
    params:
        who=who,
        redundancy=config["redundancy"],
        statistics=config["statistics"],
        code=code("norms/redundancy.py"),
    script:
        "../workflow_scripts/norms/redundancy.py"


rule cosine_curves:
    input:
        curves=over(PATHS.measure("redundancy", "{dataset}", BACKBONE, ending="curves.csv")),
    output:
        curves=PATHS.figure_data("cosine_curves.csv.gz"),
    log:
        f"{RESULTS}/logs/cosine_curves/cosine_curves.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_cosine:
    input:
        curves=rules.cosine_curves.output.curves,
        claim3=PATHS.table("claim3"),
    output:
        paper=figure_files("{dataset}/fig3_cosine"),
        density=paged("{dataset}/cosine"),
        ratio=paged("{dataset}/fig3_ratio"),
    log:
        f"{RESULTS}/logs/fig_cosine/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        paper=[row.key for row in paper_figures.shown(STUDY, "fig3_cosine")],
        redundancy=config["redundancy"],
        code=code("norms/fig_cosine.py"),
    script:
        "../workflow_scripts/norms/fig_cosine.py"


rule claim3:
    input:
        PATHS.table("claim3"),
        expand(PATHS.figure("{dataset}/fig3_cosine"), dataset=config["analyse"]),
