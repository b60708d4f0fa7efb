# Where weights come from. Each backbone ends as a card (where its weights are, their checksum);
# the part of the register name after the dash says which rule makes it.


def training_receipt(row):
    """Receipt of the decoded images a backbone is trained on."""
    return f"{RESULTS}/receipts/decode/{RECIPES[row.recipe]['dataset']}/{row.geometry.key}.json"


def training_store(row):
    """The decoded images themselves."""
    return f"{RESULTS}/images/{RECIPES[row.recipe]['dataset']}/{row.geometry.key}.zarr"


def training_truth(row):
    """Ground truth of rendered scenes, for recipes that label patches; empty otherwise."""
    recipe = RECIPES[row.recipe]
    used = recipe["training"]["token_labels"] > 0
    return f"{RESULTS}/data/{recipe['dataset']}/truth.zarr" if used else ""


def local_weights(wildcards):
    """A weights file named in the backbone's row, watched like any input once it exists."""
    file = row_of(wildcards).weights
    return [file] if file and Path(file).exists() else []


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
        cache=CACHE,
        code=code("obtain.py"),
    script:
        "../workflow_scripts/obtain.py"


rule train:
    input:
        lambda w: training_receipt(row_of(w)),
    output:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        weights=f"{RESULTS}/backbones/{BACKBONE}/model.safetensors",
        history=f"{RESULTS}/backbones/{BACKBONE}/history.csv",
    log:
        f"{RESULTS}/logs/train/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{BACKBONE}.tsv"
    wildcard_constraints:
        registers=r"r\d+-scratch",
    conda:
        ENV
    threads: config["threads"]["train"]
    resources:
        gpu=gpu,
        mem_mb=8000,
        runtime=60,
    params:
        spec=lambda w: row_of(w).spec,
        recipe=lambda w: RECIPES[row_of(w).recipe]["training"],
        store=lambda w: training_store(row_of(w)),
        truth=lambda w: training_truth(row_of(w)),
        device=config["device"],
        code=code("train.py"),
    script:
        "../workflow_scripts/train.py"


rule plant:
    input:
        card=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-scratch/card.json",
        weights=f"{RESULTS}/backbones/{{family}}/{{size}}/{{r}}-scratch/model.safetensors",
        pixels=lambda w: training_receipt(base_row(w)),
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
        mem_mb=4000,
        runtime=20,
    params:
        spec=lambda w: base_row(w).spec,
        plant=lambda w: RECIPES[base_row(w).recipe]["plant"],
        store=lambda w: training_store(base_row(w)),
        times_median=config["outliers"]["times_median"],
        code=code("plant.py"),
    script:
        "../workflow_scripts/plant.py"
