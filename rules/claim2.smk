# Claims 1 and 2: outlier tokens have high norms, from some block on, in large enough models
# (main paper, Fig 4; where in depth they start, by size, and where in the image they sit).


rule norms:
    input:
        receipts_of,
    output:
        rows=f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.csv",
        cutoffs=f"{RESULTS}/cutoffs/{{dataset}}/{BACKBONE}.json",
        curves=f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.curves.csv",
        places=f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.places.csv",
        tails=f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.tails.json",
    log:
        f"{RESULTS}/logs/norms/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/norms/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("norms"),
        runtime=minutes("norms"),
    params:
        who=who,
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("norms/norms.py"),
    script:
        "../workflow_scripts/norms/norms.py"


rule norm_curves:
    input:
        curves=over(f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.curves.csv"),
        places=over(f"{RESULTS}/measures/norms/{{dataset}}/{BACKBONE}.places.csv"),
    output:
        curves=f"{RESULTS}/figures/data/norm_curves.csv.gz",
        places=f"{RESULTS}/figures/data/places.csv.gz",
    log:
        f"{RESULTS}/logs/norm_curves/norm_curves.log",
    conda:
        ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_norms:
    input:
        curves=rules.norm_curves.output.curves,
        places=rules.norm_curves.output.places,
        claim1=f"{RESULTS}/tables/claim1.csv",
        claim2=f"{RESULTS}/tables/claim2.csv",
        backbones=f"{RESULTS}/tables/backbones.csv",
    output:
        last=figure_files("{dataset}/fig4_norms"),
        blocks=figure_files("{dataset}/fig4_norms_by_block"),
        depth=figure_files("{dataset}/outliers_by_depth"),
        size=figure_files("{dataset}/outliers_by_size"),
        places=figure_files("{dataset}/outlier_places"),
    log:
        f"{RESULTS}/logs/fig_norms/{{dataset}}.log",
    conda:
        ENV
    params:
        outliers=config["outliers"],
        code=code("norms/fig_norms.py"),
    script:
        "../workflow_scripts/norms/fig_norms.py"


rule claim2:
    input:
        f"{RESULTS}/tables/claim1.csv",
        f"{RESULTS}/tables/claim2.csv",
        expand(f"{RESULTS}/figures/{{dataset}}/fig4_norms.png", dataset=config["analyse"]),
