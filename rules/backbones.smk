# Where weights come from. Each backbone ends as a card (where its weights are, their checksum);
# the part of the register name after the dash says which rule makes it.


# Runs where the controller runs: the only job that may use the network.
localrules:
    obtain,


rule obtain:
    input:
        local_weights,
    output:
        PATHS.card(BACKBONE),
    log:
        f"{RESULTS}/logs/obtain/{BACKBONE}.log",
    wildcard_constraints:
        registers=r"r\d+",
    conda:
        ENV
    params:
        spec=lambda w: row_of(w).spec,
        weights=lambda w: row_of(w).weights,
        folder=config["weights"]["folder"],
        download=config["weights"]["download"],
        cache=config["weights"]["cache"],
        code=code("backbones/obtain.py"),
    script:
        "../workflow_scripts/backbones/obtain.py"


rule plant:
    input:
        card=PATHS.card("{family}/{size}/{r}-scratch"),
        weights=PATHS.backbone("{family}/{size}/{r}-scratch", "model.safetensors"),
        pixels=lambda w: training_images(base_row(w))[0],
    output:
        clean=PATHS.card("{family}/{size}/{r}-clean"),
        clean_weights=PATHS.backbone("{family}/{size}/{r}-clean", "model.safetensors"),
        planted=PATHS.card("{family}/{size}/{r}-planted"),
        planted_weights=PATHS.backbone("{family}/{size}/{r}-planted", "model.safetensors"),
    log:
        f"{RESULTS}/logs/plant/{{family}}/{{size}}/{{r}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plant/{{family}}/{{size}}/{{r}}.tsv"
    wildcard_constraints:
        r=r"r\d+",
    conda:
        ENV
    resources:
        mem_mb=megabytes("plant"),
        runtime=minutes("plant"),
    params:
        spec=lambda w: base_row(w).spec,
        plant=lambda w: STUDY.recipe(base_row(w))["plant"],
        store=lambda w: training_images(base_row(w))[1],
        times_median=config["outliers"]["times_median"],
        code=code("backbones/plant.py"),
    script:
        "../workflow_scripts/backbones/plant.py"
