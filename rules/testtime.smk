# Registers without training, for every backbone that has none (Jiang et al. 2025): the neurons that
# write its outliers, and cards of the same backbone with those neurons moved to N tokens.


localrules:
    attach,
    fig_registers,
    fig_register_maps,
    fig_attached,


rule neurons:
    input:
        card=PATHS.card(BACKBONE),
        tokens=receipts_of,
        sample=PATHS.data("{dataset}", "sample.csv"),
        pixels=pixels_of,
    output:
        found=PATHS.measure("neurons", "{dataset}", BACKBONE, ending="json"),
        scores=PATHS.figure_data("neurons", "{dataset}", f"{BACKBONE}.csv.gz"),
        trials=PATHS.figure_data("neurons", "{dataset}", f"{BACKBONE}.trials.csv.gz"),
    log:
        f"{RESULTS}/logs/neurons/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/neurons/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("neurons"),
        runtime=minutes("neurons"),
    params:
        spec=lambda w: row_of(w).spec,
        images=images_of,
        settings=lambda w: STUDY.neuron_search(row_of(w)),
        rules={
            "times_median": config["outliers"]["times_median"],
            "confidence": config["statistics"]["confidence"],
        },
        head=lambda w: bool(row_of(w).classes) and row_of(w).arch.num_classes > 0,
        batch=config["extract"]["batch"],
        device=config["device"],
        code=code("registers/neurons.py"),
    script:
        "../workflow_scripts/registers/neurons.py"


rule attach:
    input:
        neurons=lambda w: STUDY.neurons_of(row_of(w)),
        base=lambda w: PATHS.card(row_of(w).base_key),
    output:
        card=PATHS.card(BACKBONE),
        added=PATHS.backbone(BACKBONE, "registers.json"),
    log:
        f"{RESULTS}/logs/attach/{BACKBONE}.log",
    wildcard_constraints:
        registers=r"r\d+[a-z0-9.-]*-(testtime|random|zeroed)",
    conda:
        LIGHT_ENV
    params:
        spec=lambda w: row_of(w).spec,
        registers=lambda w: row_of(w).register_count,
        kind=lambda w: row_of(w).kind,
        leaves=lambda w: config["testtime"]["leaves"],
        code=code("registers/attach.py"),
    script:
        "../workflow_scripts/registers/attach.py"


# What registers change and learn, of any kind: all register counts of one size side by side.
rule compare:
    input:
        lambda w: [
            file
            for backbone in compared(w)
            for file in (
                *backbone["receipts"],
                backbone["cutoffs"],
                backbone["searched"],
                backbone["trials"],
            )
            if file
        ],
    output:
        PATHS.measure("registers", "{dataset}", "{family}", "{size}"),
    log:
        f"{RESULTS}/logs/compare/{{dataset}}/{{family}}/{{size}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/{{dataset}}/{{family}}/{{size}}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("compare"),
        runtime=minutes("compare"),
    params:
        backbones=lambda w: compared(w),
        objects=lambda w: STUDY.objects(w.dataset, w.family, w.size),
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("registers/compare.py"),
    script:
        "../workflow_scripts/registers/compare.py"


rule fig_registers:
    input:
        registers=PATHS.table("registers"),
    output:
        figure_files("{dataset}/registers"),
    log:
        f"{RESULTS}/logs/fig_registers/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        times=config["outliers"]["times_median"],
        code=code("registers/fig_registers.py"),
    script:
        "../workflow_scripts/registers/fig_registers.py"


# What each register attends to, of any kind, as in Darcet et al., Figure 9.
rule fig_register_maps:
    input:
        maps=PATHS.figure_data("maps", "{dataset}", BACKBONE, "native.nc"),
        registers=PATHS.table("registers"),
    output:
        figure_files(f"{{dataset}}/register_maps/{BACKBONE}"),
    log:
        f"{RESULTS}/logs/fig_register_maps/{{dataset}}/{BACKBONE}.log",
    conda:
        LIGHT_ENV
    params:
        code=code("registers/fig_register_maps.py"),
    script:
        "../workflow_scripts/registers/fig_register_maps.py"


rule fig_attached:
    input:
        scores=PATHS.figure_data("neurons", "{dataset}", f"{BACKBONE}.csv.gz"),
        trials=PATHS.figure_data("neurons", "{dataset}", f"{BACKBONE}.trials.csv.gz"),
        curves=PATHS.figure_data("norm_curves.csv.gz"),
        registers=PATHS.table("registers"),
        maps=lambda w: [
            PATHS.figure_data("maps", w.dataset, row.key, "native.nc")
            for row in STUDY.attached_to(row_of(w))
        ],
    output:
        **{
            name: figure_files(f"{{dataset}}/testtime_{name}/{BACKBONE}")
            for name in ("neurons", "number", "norms", "maps")
        },
    log:
        f"{RESULTS}/logs/fig_attached/{{dataset}}/{BACKBONE}.log",
    conda:
        LIGHT_ENV
    params:
        names=lambda w: [row.registers for row in STUDY.attached_to(row_of(w))],
        times=config["outliers"]["times_median"],
        code=code("registers/fig_attached.py"),
    script:
        "../workflow_scripts/registers/fig_attached.py"


rule testtime:
    input:
        PATHS.table("registers"),
        expand(PATHS.figure("{dataset}/registers"), dataset=config["analyse"]),
        [
            PATHS.figure(f"{name}/register_maps/{row.key}")
            for name in config["analyse"]
            for row in contents.registered(STUDY)
        ],
        [
            PATHS.figure(f"{config['testtime']['dataset']}/testtime_maps/{row.key}")
            for row in STUDY.testtime_bases
        ],
