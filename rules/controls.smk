# Does the instrument read right? The answer of phantoms is known from the pixels alone.


rule control:
    input:
        card=PATHS.card(BACKBONE),
        tokens=receipts_of,
        pixels=pixels_of,
        sample=PATHS.data("{dataset}", "sample.csv"),
        norms=PATHS.measure("norms", "{dataset}", BACKBONE),
        diagnosis=PATHS.measure("diagnosis", "{dataset}", BACKBONE),
        kinds=PATHS.measure("kinds", "{dataset}", BACKBONE) if config.get("kinds") else [],
    output:
        PATHS.measure("control", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/control/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/control/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("control"),
        runtime=minutes("control"),
    params:
        who=who,
        images=images_of,
        patch=lambda w: row_of(w).arch.patch,
        statistics=config["statistics"],
        code=code("backbones/control.py"),
    script:
        "../workflow_scripts/backbones/control.py"


rule controls:
    input:
        PATHS.table("controls") if TABLES["controls"].who else [],


# The same of a study that is about phantoms alone: config/phantoms.yaml.
rule phantoms:
    input:
        rules.controls.input,
