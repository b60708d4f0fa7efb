# Claim 4: outlier tokens know less of their place and pixels, and more of the image (main paper,
# Tables 1-3). The bank of drawn tokens comes from the feature pass; one job trains all probes.


rule probe:
    input:
        unpack(bank_inputs),
    output:
        rows=PATHS.measure("probes", "{dataset}", BACKBONE),
        places=PATHS.measure("probes", "{dataset}", BACKBONE, ending="places.csv"),
        norms=PATHS.measure("probes", "{dataset}", BACKBONE, ending="norms.csv"),
    log:
        f"{RESULTS}/logs/probe/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/probe/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["probe"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("probe"),
        runtime=minutes("probe"),
    params:
        who=who,
        settings={k: v for k, v in PROBES.items() if k not in ("backbones", "sensitivity")},
        times=config["outliers"]["times_median"],
        saw_labels=lambda w: STUDY.probing.saw_labels(row_of(w)),
        statistics=config["statistics"],
        device=config["device"],
        partial=f"{RESULTS}/partial/probes/{{dataset}}/{BACKBONE}",
        code=code("probes/probe.py"),
    script:
        "../workflow_scripts/probes/probe.py"


# The same class probe under other recipes: what the published differences may come from.
rule sensitivity:
    input:
        unpack(bank_inputs),
        cutoffs=cutoffs_of,
    output:
        PATHS.measure("sensitivity", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/sensitivity/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sensitivity/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["probe"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("sensitivity"),
        runtime=minutes("sensitivity"),
    params:
        who=who,
        settings={k: v for k, v in PROBES.items() if k != "backbones"},
        statistics=config["statistics"],
        device=config["device"],
        code=code("probes/sensitivity.py"),
    script:
        "../workflow_scripts/probes/sensitivity.py"


rule probe_curves:
    input:
        places=probed(PATHS.measure("probes", BANK, BACKBONE, ending="places.csv")),
        norms=probed(PATHS.measure("probes", BANK, BACKBONE, ending="norms.csv")),
    output:
        places=PATHS.figure_data("probe_places.csv.gz"),
        norms=PATHS.figure_data("probe_norms.csv.gz"),
    log:
        f"{RESULTS}/logs/probe_curves/probe_curves.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_probe_tables:
    input:
        claim4=PATHS.table("claim4"),
        published=ancient(PUBLISHED),
    output:
        paged("{dataset}/probe_tables"),
    log:
        f"{RESULTS}/logs/fig_probe_tables/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("probes/fig_probe_tables.py", reads=[PUBLISHED]),
    script:
        "../workflow_scripts/probes/fig_probe_tables.py"


rule fig_error_maps:
    input:
        places=rules.probe_curves.output.places,
        claim4=PATHS.table("claim4"),
    output:
        paged("{dataset}/probe_error_maps"),
    log:
        f"{RESULTS}/logs/fig_error_maps/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("probes/fig_error_maps.py"),
    script:
        "../workflow_scripts/probes/fig_error_maps.py"


rule fig_probe_norms:
    input:
        norms=rules.probe_curves.output.norms,
        claim4=PATHS.table("claim4"),
    output:
        paged("{dataset}/probe_norms"),
    log:
        f"{RESULTS}/logs/fig_probe_norms/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("probes/fig_probe_norms.py"),
    script:
        "../workflow_scripts/probes/fig_probe_norms.py"


rule fig_sensitivity:
    input:
        rows=PATHS.table("sensitivity"),
        published=ancient(PUBLISHED),
    output:
        paged("{dataset}/probe_sensitivity"),
    log:
        f"{RESULTS}/logs/fig_sensitivity/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("probes/fig_sensitivity.py", reads=[PUBLISHED]),
    script:
        "../workflow_scripts/probes/fig_sensitivity.py"


rule claim4:
    input:
        PATHS.table("claim4") if STUDY.probing.rows else [],
        PATHS.table("sensitivity") if STUDY.probing.varied else [],
        expand(
            PATHS.figure(f"{BANK}/{{figure}}"),
            figure=(
                (["probe_error_maps", "probe_norms"] if STUDY.probing.rows else [])
                + (["probe_sensitivity"] if STUDY.probing.varied else [])
            ),
        ),
