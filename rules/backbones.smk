# Where weights come from. Each backbone ends as a card (where its weights are, their checksum);
# the part of the register name after the dash says which rule makes it.
import re

from tokenscope.study.register_names import CONTROLS


# Runs where the controller runs: it may use the network.
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


# Everything that needs the network, beforehand: `make weights`.
rule weights:
    input:
        needs.obtained(STUDY),


rule plant:
    input:
        card=lambda w: PATHS.card(base_row(w).key),  # of the weights: new with each training
        weights=ancient(lambda w: PATHS.backbone(base_row(w).key, "model.safetensors")),
        pixels=lambda w: training_images(base_row(w))[0],
    output:
        card=PATHS.card(BACKBONE),
        weights=PATHS.backbone(BACKBONE, "model.safetensors"),
    log:
        f"{RESULTS}/logs/plant/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/plant/{BACKBONE}.tsv"
    wildcard_constraints:
        registers=rf"r\d+-({'|'.join(map(re.escape, CONTROLS))})",
    conda:
        ENV
    resources:
        mem_mb=megabytes("plant"),
        runtime=minutes("plant"),
    params:
        base=lambda w: base_row(w).spec,
        name=lambda w: row_of(w).key,
        phantom=lambda w: row_of(w).kind,
        plant=lambda w: STUDY.recipe(base_row(w)).get("plant"),
        store=lambda w: training_images(base_row(w))[1],
        code=code("backbones/plant.py"),
    script:
        "../workflow_scripts/backbones/plant.py"
