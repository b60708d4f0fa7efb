# Claim 5: does a classifier gain by registers (main paper, Tables 4 and 5)? Published heads, the
# heads that backbones came with, and heads trained here, all on stored features.


localrules:
    obtain_head,
    splits,
    fig_gains,


# Runs where the controller runs, as `obtain` does: it may use the network.
rule obtain_head:
    output:
        PATHS.head(BACKBONE, "{layers}"),
    log:
        f"{RESULTS}/logs/obtain_head/{BACKBONE}/{{layers}}.log",
    wildcard_constraints:
        layers="1|4",
    conda:
        ENV
    params:
        head=lambda w: HEADS.head(row_of(w), int(w.layers)),
        width=lambda w: row_of(w).arch.width,
        folder=lambda w: HEADS.settings["released"]["folder"],
        cache=config["weights"]["cache"],
        download=lambda w: HEADS.settings["released"]["download"],
        code=code("classification/obtain_head.py"),
    script:
        "../workflow_scripts/classification/obtain_head.py"


# Training and test images must be different files, of the same classes.
rule splits:
    input:
        train=PATHS.data("{train}", "sample.csv"),
        test=PATHS.data("{test}", "sample.csv"),
    output:
        PATHS.receipt("splits", "{train}", "{test}"),
    log:
        f"{RESULTS}/logs/splits/{{train}}/{{test}}.log",
    conda:
        LIGHT_ENV
    params:
        names=lambda w: [w.train, w.test],
        # Probes are trained without what is in both; for heads the config decides.
        duplicates=lambda w: HEADS.settings["duplicates"] if of_heads(w) else "drop",
        labels_needed=lambda w: of_heads(w),
        code=code("classification/splits.py"),
    script:
        "../workflow_scripts/classification/splits.py"


rule heads:
    input:
        unpack(lambda w: HEADS.inputs(row_of(w), w.view)),
    output:
        rows=PATHS.measure("heads", "{dataset}", BACKBONE, "{view}"),
        ranks=PATHS.measure("heads", "{dataset}", BACKBONE, "{view}", ending="ranks.csv.gz"),
    log:
        f"{RESULTS}/logs/heads/{{dataset}}/{BACKBONE}/{{view}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/heads/{{dataset}}/{BACKBONE}/{{view}}.tsv"
    conda:
        ENV
    threads: config["threads"]["train"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("heads"),
        runtime=minutes("heads"),
    params:
        groups=lambda w: [head.group for head in HEADS.released(row_of(w))],
        own=lambda w: HEADS.own(row_of(w)),
        who=who,
        settings=lambda w: HEADS.training,
        statistics=config["statistics"],
        device=config["device"],
        partial=f"{RESULTS}/partial/heads/{{dataset}}/{BACKBONE}/{{view}}.pt",
        code=code("classification/heads.py"),
    script:
        "../workflow_scripts/classification/heads.py"


rule gains:
    input:
        HEADS.ranks,
    output:
        PATHS.measure("gains", "{dataset}"),
    log:
        f"{RESULTS}/logs/gains/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gains/{{dataset}}.tsv"
    conda:
        LIGHT_ENV
    resources:
        mem_mb=megabytes("gains"),
        runtime=minutes("gains"),
    params:
        backbones=[(row.family, row.size, row.registers) for row, _ in HEADS.jobs],
        dataset="{dataset}",
        statistics=config["statistics"],
        code=code("classification/gains.py"),
    script:
        "../workflow_scripts/classification/gains.py"


rule fig_gains:
    input:
        claim5=PATHS.table("claim5"),
        published=ancient(PUBLISHED),
    output:
        table4=paged("{dataset}/table4_gains"),
        table5=paged("{dataset}/table5_gains"),
    log:
        f"{RESULTS}/logs/fig_gains/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("classification/fig_gains.py", reads=[PUBLISHED, LABELS]),
    script:
        "../workflow_scripts/classification/fig_gains.py"


rule claim5:
    input:
        PATHS.table("claim5"),
        [PATHS.figure(f"{HEADS.test}/table4_gains")] if HEADS.jobs else [],
