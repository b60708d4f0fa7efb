# From a data set on disk to the pixels that every backbone of one geometry shares.


def dataset_files(wildcards):
    """What must exist before a data set can be indexed: rendered scenes, or nothing we make."""
    name, kind = wildcards.dataset, config["datasets"][wildcards.dataset]["type"]
    return [f"{RESULTS}/data/{name}/labels.csv"] if kind == "scenes" else []


def label_source(wildcards):
    """The labels parameter of tokenscope.manifest.index."""
    dataset = config["datasets"][wildcards.dataset]
    return dataset_files(wildcards)[0] if dataset["type"] == "scenes" else dataset["labels"]


rule render:
    output:
        images=directory(f"{RESULTS}/data/{{dataset}}/images"),
        truth=directory(f"{RESULTS}/data/{{dataset}}/truth.zarr"),
        labels=f"{RESULTS}/data/{{dataset}}/labels.csv",
    log:
        f"{RESULTS}/logs/render/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/render/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["render"]
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        images=lambda w: config["datasets"][w.dataset]["images"],
        seed=lambda w: config["datasets"][w.dataset]["seed"],
        size=lambda w: config["datasets"][w.dataset].get("size", 160),
        partial=f"{RESULTS}/partial/truth/{{dataset}}",
        code=code("render.py"),
    script:
        "../workflow_scripts/render.py"


rule index:
    input:
        dataset_files,
    output:
        f"{RESULTS}/data/{{dataset}}/manifest.csv",
    log:
        f"{RESULTS}/logs/index/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=lambda w: image_root(w.dataset),
        labels=label_source,
        columns=lambda w: config["datasets"][w.dataset].get("columns", {}),
        code=code("index.py"),
    script:
        "../workflow_scripts/index.py"


rule sample:
    input:
        rules.index.output,
    output:
        sample=f"{RESULTS}/data/{{dataset}}/sample.csv",
        receipt=f"{RESULTS}/receipts/sample/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/sample/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sample/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        root=lambda w: image_root(w.dataset),
        images=lambda w: config["datasets"][w.dataset]["images"],
        seed=lambda w: config["datasets"][w.dataset]["seed"],
        on_bad_image=lambda w: config["datasets"][w.dataset].get("on_bad_image", "fail"),
        code=code("sample.py"),
    script:
        "../workflow_scripts/sample.py"


rule decode:
    input:
        rules.sample.output.sample,
    output:
        store=directory(f"{RESULTS}/images/{{dataset}}/{{geometry}}.zarr"),
        receipt=f"{RESULTS}/receipts/decode/{{dataset}}/{{geometry}}.json",
    log:
        f"{RESULTS}/logs/decode/{{dataset}}/{{geometry}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/decode/{{dataset}}/{{geometry}}.tsv"
    conda:
        ENV
    threads: config["threads"]["decode"]
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        root=lambda w: image_root(w.dataset),
        partial=f"{RESULTS}/partial/images/{{dataset}}/{{geometry}}",
        code=code("decode.py"),
    script:
        "../workflow_scripts/decode.py"
