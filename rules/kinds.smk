# Beyond norms: every kind of artifact of every backbone, phantoms too, each with its own answer. One
# pass over a few hundred images takes all that can be observed; experiments take a few more.


localrules:
    fig_kinds,


KINDS = config.get("kinds") or {}


rule measure_kinds:
    input:
        card=PATHS.card(BACKBONE),
        tokens=receipts_of,
        sample=PATHS.data("{dataset}", "sample.csv"),
        pixels=pixels_of,
    output:
        PATHS.measure("kinds", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/measure_kinds/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_kinds/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("measure_kinds"),
        runtime=minutes("measure_kinds"),
    params:
        spec=lambda w: row_of(w).spec,
        images=images_of,
        settings=lambda w: KINDS | {"second_size": row_of(w).another_size(KINDS["second_size"])},
        truth=lambda w: STUDY.objects(w.dataset, w.family, w.size),
        labelled=own_head,
        who=who,
        statistics=config["statistics"],
        device=config["device"],
        code=code("kinds/kinds.py"),
    script:
        "../workflow_scripts/kinds/kinds.py"


rule fig_kinds:
    input:
        table=PATHS.table("kinds"),
    output:
        matrix=figure_files("kinds/matrix"),
        experiments=figure_files("kinds/experiments"),
        sinks=figure_files("kinds/sinks"),
        attention=figure_files("kinds/attention"),
        channels=figure_files("kinds/channels"),
        locality=figure_files("kinds/locality"),
        qkv=figure_files("kinds/qkv"),
        registers=figure_files("kinds/registers"),
    log:
        f"{RESULTS}/logs/fig_kinds/kinds.log",
    conda:
        LIGHT_ENV
    params:
        code=code("kinds/fig_kinds.py", reads=[LABELS]),
    script:
        "../workflow_scripts/kinds/fig_kinds.py"


rule kinds:
    input:
        [PATHS.table("kinds"), PATHS.figure("kinds/matrix")] if TABLES["kinds"].who else [],
