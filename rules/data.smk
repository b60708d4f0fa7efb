# From a data set on disk to the pixels that every backbone of one geometry shares.

# What jobs saw of the files of a data set (tokenscope.datasets.watched). No outputs: Snakemake
# deletes those before their job runs, which would then take the set for one never seen.
LISTED = PATHS.data("{dataset}", "listed.json")
SAMPLED = PATHS.data("{dataset}", "sampled.json")


rule render:
    output:
        images=directory(PATHS.data("{dataset}", "images")),
        truth=directory(PATHS.data("{dataset}", "truth.zarr")),
        labels=PATHS.data("{dataset}", "labels.csv"),
    log:
        f"{RESULTS}/logs/render/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/render/{{dataset}}.tsv"
    priority: 1  # the longest chain starts with it
    conda:
        LIGHT_ENV
    threads: config["threads"]["render"]
    resources:
        mem_mb=megabytes("render"),
        runtime=minutes("render"),
    params:
        images=lambda w: STUDY.datasets[w.dataset]["images"],
        seed=lambda w: STUDY.datasets[w.dataset]["seed"],
        size=lambda w: STUDY.datasets[w.dataset].get("size", 160),
        plain_skies=lambda w: STUDY.datasets[w.dataset].get("plain_skies", 0.2),
        partial=f"{RESULTS}/partial/truth/{{dataset}}",
        code=code("data/render.py"),
    script:
        "../workflow_scripts/data/render.py"


rule index:
    input:
        rendered_labels,
    output:
        PATHS.data("{dataset}", "manifest.csv"),
    log:
        f"{RESULTS}/logs/index/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=megabytes("index"),
        runtime=minutes("index"),
    params:
        source=lambda w: STUDY.layout(w.dataset),
        changes=lambda w: changes_of(w, LISTED),
        rendered=lambda w: rendered(w.dataset),
        record=LISTED,
        code=code("data/index.py"),
    script:
        "../workflow_scripts/data/index.py"


rule sample:
    input:
        rules.index.output,
    output:
        sample=PATHS.data("{dataset}", "sample.csv"),
        packed=directory(PATHS.data("{dataset}", "packed")),
        receipt=PATHS.receipt("sample", "{dataset}"),
    log:
        f"{RESULTS}/logs/sample/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sample/{{dataset}}.tsv"
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=megabytes("sample"),
        runtime=minutes("sample"),
    params:
        source=lambda w: STUDY.layout(w.dataset),
        images=lambda w: STUDY.datasets[w.dataset]["images"],
        seed=lambda w: STUDY.datasets[w.dataset]["seed"],
        on_bad_image=lambda w: STUDY.datasets[w.dataset].get("on_bad_image", "fail"),
        listed=LISTED,
        changes=lambda w: changes_of(w, SAMPLED),
        rendered=lambda w: rendered(w.dataset),
        record=SAMPLED,
        code=code("data/sample.py"),
    script:
        "../workflow_scripts/data/sample.py"


rule decode:
    input:
        rules.sample.output.sample,
    output:
        store=directory(PATHS.pixels("{dataset}", "{geometry}")),
        receipt=PATHS.receipt("decode", "{dataset}", "{geometry}"),
    log:
        f"{RESULTS}/logs/decode/{{dataset}}/{{geometry}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/decode/{{dataset}}/{{geometry}}.tsv"
    priority: 1  # the longest chain starts with it
    conda:
        ENV
    threads: config["threads"]["decode"]
    resources:
        mem_mb=megabytes("decode"),
        runtime=minutes("decode"),
    params:
        root=lambda w: STUDY.image_root(w.dataset),
        partial=f"{RESULTS}/partial/images/{{dataset}}/{{geometry}}",
        code=code("data/decode.py"),
    script:
        "../workflow_scripts/data/decode.py"
