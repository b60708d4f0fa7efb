# Registers without training, for every backbone that has none (Jiang et al. 2025): the neurons that
# write its outliers, and cards of the same backbone with those neurons moved to N tokens.


localrules:
    attach,


rule neurons:
    input:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        tokens=receipts_of,
        sample=f"{RESULTS}/data/{{dataset}}/sample.csv",
        pixels=pixels_of,
    output:
        found=f"{RESULTS}/measures/neurons/{{dataset}}/{BACKBONE}.json",
        scores=f"{RESULTS}/measures/neurons/{{dataset}}/{BACKBONE}.csv.gz",
    log:
        f"{RESULTS}/logs/neurons/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/neurons/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=extract_mb,
        runtime=minutes("neurons"),
    params:
        spec=lambda w: row_of(w).spec,
        geometry=lambda w: row_of(w).geometry.key,
        store=store_of,
        root=lambda w: STUDY.image_root(w.dataset),
        settings=lambda w: STUDY.neuron_search,
        outliers=config["outliers"],
        batch=config["extract"]["batch"],
        device=config["device"],
        code=code("neurons.py"),
    script:
        "../workflow_scripts/neurons.py"


rule attach:
    input:
        neurons=lambda w: STUDY.neurons_of(row_of(w)),
        base=lambda w: f"{RESULTS}/backbones/{row_of(w).base_key}/card.json",
    output:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        added=f"{RESULTS}/backbones/{BACKBONE}/registers.json",
    log:
        f"{RESULTS}/logs/attach/{BACKBONE}.log",
    wildcard_constraints:
        registers=r"r\d+[a-z-]*-(testtime|random)",
    conda:
        ENV
    params:
        spec=lambda w: row_of(w).spec,
        registers=lambda w: row_of(w).register_count,
        kind=lambda w: row_of(w).kind,
        leaves=lambda w: config["testtime"]["leaves"],
        code=code("attach.py"),
    script:
        "../workflow_scripts/attach.py"


# What registers change and learn, of any kind: all register counts of one size side by side.
rule compare:
    input:
        lambda w: [r for row in STUDY.kin(w.family, w.size) for r in receipts(w.dataset, row)],
    output:
        f"{RESULTS}/measures/registers/{{dataset}}/{{family}}/{{size}}.csv",
    log:
        f"{RESULTS}/logs/compare/{{dataset}}/{{family}}/{{size}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/compare/{{dataset}}/{{family}}/{{size}}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=kin_mb,
        runtime=minutes("compare"),
    params:
        backbones=lambda w: [
            (STUDY.who(row, w.dataset), receipts(w.dataset, row), row.base_key.split("/")[2])
            for row in STUDY.kin(w.family, w.size)
        ],
        objects=lambda w: STUDY.objects(w.dataset, w.family, w.size),
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("compare.py"),
    script:
        "../workflow_scripts/compare.py"


rule testtime:
    input:
        f"{RESULTS}/tables/registers.csv",
