# Where weights come from. Each backbone ends as a card (where its weights are, their checksum);
# the part of the register name after the dash says which rule makes it.


# Runs where the controller runs: the only job that may use the network.
localrules:
    obtain,


rule obtain:
    input:
        local_weights,
    output:
        f"{RESULTS}/backbones/{BACKBONE}/card.json",
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
        card=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-scratch/card.json",
        weights=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-scratch/model.safetensors",
        pixels=lambda w: training_images(base_row(w))[0],
    output:
        clean=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-clean/card.json",
        clean_weights=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-clean/model.safetensors",
        planted=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-planted/card.json",
        planted_weights=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-planted/model.safetensors",
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
