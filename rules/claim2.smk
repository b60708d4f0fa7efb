# Claims 1 and 2: outlier tokens have high norms, from some block on, in large enough models
# (main paper, Fig 4; where in depth they start, by size, and where in the image they sit).


rule norms:
    input:
        receipts_of,
    output:
        rows=PATHS.measure("norms", "{dataset}", BACKBONE),
        cutoffs=PATHS.cutoffs("{dataset}", BACKBONE),
        curves=PATHS.measure("norms", "{dataset}", BACKBONE, ending="curves.csv"),
        places=PATHS.measure("norms", "{dataset}", BACKBONE, ending="places.csv"),
        joint=PATHS.measure("norms", "{dataset}", BACKBONE, ending="joint.csv"),
        tails=PATHS.measure("norms", "{dataset}", BACKBONE, ending="tails.json"),
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


# What other passes hang on, for itself: the papers' multiples may change without another pass.
rule decision:
    input:
        receipts_of,
    output:
        PATHS.cutoffs("{dataset}", f"{BACKBONE}/decision"),
    log:
        f"{RESULTS}/logs/decision/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/decision/{{dataset}}/{BACKBONE}.tsv"
    conda:
        LIGHT_ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("decision"),
        runtime=minutes("decision"),
    params:
        percentile=config["outliers"]["percentile"],
        confidence=config["statistics"]["confidence"],
        code=code("norms/decision.py"),
    script:
        "../workflow_scripts/norms/decision.py"


# Figure 4 as a number: on the same images, resampled together.
rule contrast:
    input:
        lambda w: [
            file
            for backbone in contrasted(w.dataset)
            for file in (*backbone["receipts"], backbone["cutoffs"])
        ],
    output:
        PATHS.measure("contrast", "{dataset}"),
    log:
        f"{RESULTS}/logs/contrast/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/contrast/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("contrast"),
        runtime=minutes("contrast"),
    params:
        backbones=lambda w: contrasted(w.dataset),
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("norms/contrast.py"),
    script:
        "../workflow_scripts/norms/contrast.py"


rule norm_curves:
    input:
        curves=over(PATHS.measure("norms", "{dataset}", BACKBONE, ending="curves.csv")),
        places=over(PATHS.measure("norms", "{dataset}", BACKBONE, ending="places.csv")),
        joint=over(PATHS.measure("norms", "{dataset}", BACKBONE, ending="joint.csv")),
    output:
        curves=PATHS.figure_data("norm_curves.csv.gz"),
        places=PATHS.figure_data("places.csv.gz"),
        joint=PATHS.figure_data("attention_norms.csv.gz"),
    log:
        f"{RESULTS}/logs/norm_curves/norm_curves.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_norms:
    input:
        curves=rules.norm_curves.output.curves,
        places=rules.norm_curves.output.places,
        claim1=PATHS.table("claim1"),
        claim2=PATHS.table("claim2"),
        backbones=PATHS.table("backbones"),
    output:
        paper=figure_files("{dataset}/fig4_norms"),
        last=paged("{dataset}/norms"),
        blocks=paged("{dataset}/norms_by_block"),
        two=paged("{dataset}/norms_in_depth"),
        depth=figure_files("{dataset}/outliers_by_depth"),
        size=figure_files("{dataset}/outliers_by_size"),
        places=figure_files("{dataset}/outlier_places"),
    log:
        f"{RESULTS}/logs/fig_norms/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        paper=[row.key for row in paper_figures.shown(STUDY, "fig4_norms")],
        outliers=config["outliers"],
        code=code("norms/fig_norms.py"),
    script:
        "../workflow_scripts/norms/fig_norms.py"


rule fig_attention_norms:
    input:
        joint=rules.norm_curves.output.joint,
        claim1=PATHS.table("claim1"),
    output:
        paged("{dataset}/attention_norms"),
    log:
        f"{RESULTS}/logs/fig_attention_norms/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        outliers=config["outliers"],
        code=code("norms/fig_attention_norms.py"),
    script:
        "../workflow_scripts/norms/fig_attention_norms.py"


rule claim2:
    input:
        PATHS.table("claim1"),
        PATHS.table("claim2"),
        expand(PATHS.figure("{dataset}/fig4_norms"), dataset=config["analyse"]),
