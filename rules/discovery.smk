# Object discovery: LOST under every setting in one pass, one setting chosen on held-out images.


rule index_boxes:
    input:
        lambda w: DISCOVERY.made_here(w.dataset),
    output:
        images=f"{RESULTS}/data/{{dataset}}/boxes/images.csv",
        boxes=f"{RESULTS}/data/{{dataset}}/boxes/boxes.csv",
        receipt=f"{RESULTS}/receipts/boxes/{{dataset}}.json",
    log:
        f"{RESULTS}/logs/index_boxes/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_boxes/{{dataset}}.tsv"
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    threads: config["threads"]["index"]
    resources:
        mem_mb=megabytes("index_boxes"),
        runtime=minutes("index_boxes"),
    params:
        source=lambda w: DISCOVERY.source(w.dataset),
        code=code("index_boxes.py"),
    script:
        "../workflow_scripts/index_boxes.py"


rule discover:
    input:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        images=rules.index_boxes.output.images,
    output:
        store=directory(f"{RESULTS}/discovery.zarr/{{dataset}}/{BACKBONE}"),
        receipt=f"{RESULTS}/receipts/discover/{{dataset}}/{BACKBONE}.json",
    log:
        f"{RESULTS}/logs/discover/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/discover/{{dataset}}/{BACKBONE}.tsv"
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("discover"),
        runtime=minutes("discover"),
    params:
        spec=lambda w: row_of(w).spec,
        root=lambda w: DISCOVERY.source(w.dataset)["path"],
        sweep=lambda w: {
            key: config["discovery"][key]
            for key in ("blocks", "facets", "normalise", "biases", "candidates")
        },
        batch=config["extract"]["batch"],
        device=config["device"],
        partial=f"{RESULTS}/partial/discovery/{{dataset}}/{BACKBONE}",
        code=code("discover.py"),
    script:
        "../workflow_scripts/discover.py"


rule corloc:
    input:
        receipt=rules.discover.output.receipt,
        boxes=rules.index_boxes.output.boxes,
        listed=rules.index_boxes.output.receipt,
    output:
        rows=f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.csv",
        settings=f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.settings.csv",
        chosen=f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.chosen.json",
        by_image=f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.images.npz",
    log:
        f"{RESULTS}/logs/corloc/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/corloc/{{dataset}}/{BACKBONE}.tsv"
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("corloc"),
        runtime=minutes("corloc"),
    params:
        who=who,
        held_out=lambda w: config["discovery"]["held_out"],
        seed=lambda w: config["discovery"]["seed"],
        shown=lambda w: config["discovery"]["figure_images"],
        statistics=config["statistics"],
        code=code("corloc.py"),
    script:
        "../workflow_scripts/corloc.py"


rule discovery_pairs:
    input:
        DISCOVERY.over(f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.images.npz"),
    output:
        f"{RESULTS}/measures/discovery/pairs.csv",
    log:
        f"{RESULTS}/logs/discovery_pairs/all.log",
    conda:
        ENV
    params:
        who=[STUDY.who(row, name) for name in DISCOVERY.sets for row in DISCOVERY.rows],
        claim="discovery",
        statistics=config["statistics"],
        code=code("pairs.py"),
    script:
        "../workflow_scripts/pairs.py"


rule discovery_maps:
    input:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        images=rules.index_boxes.output.images,
        boxes=rules.index_boxes.output.boxes,
        chosen=rules.corloc.output.chosen,
    output:
        f"{RESULTS}/figures/data/discovery/{{dataset}}/{BACKBONE}.nc",
    log:
        f"{RESULTS}/logs/discovery_maps/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/discovery_maps/{{dataset}}/{BACKBONE}.tsv"
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("discovery_maps"),
        runtime=minutes("discovery_maps"),
    params:
        spec=lambda w: row_of(w).spec,
        root=lambda w: DISCOVERY.source(w.dataset)["path"],
        candidates=lambda w: config["discovery"]["candidates"],
        device=config["device"],
        code=code("discovery_maps.py"),
    script:
        "../workflow_scripts/discovery_maps.py"


localrules:
    fig_discovery,
    fig_lost_settings,
    discovery_settings,
    discovery_pairs,
    provenance_discovery,
    gather_discovery,


rule fig_discovery:
    input:
        lambda w: [
            f"{RESULTS}/figures/data/discovery/{w.dataset}/{row.key}.nc"
            for row in DISCOVERY.rows
            if (row.family, row.size) == (w.family, w.size)
        ],
    output:
        drawn("{dataset}/discovery/{family}/{size}"),
    log:
        f"{RESULTS}/logs/fig_discovery/{{dataset}}/{{family}}/{{size}}.log",
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    params:
        code=code("fig_discovery.py"),
    script:
        "../workflow_scripts/fig_discovery.py"


rule discovery_settings:
    input:
        settings=DISCOVERY.over(f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.settings.csv"),
    output:
        settings=f"{RESULTS}/figures/data/discovery_settings.csv.gz",
    log:
        f"{RESULTS}/logs/discovery_settings/all.log",
    conda:
        ENV
    params:
        code=code("join.py"),
    script:
        "../workflow_scripts/join.py"


rule fig_lost_settings:
    input:
        rules.discovery_settings.output.settings,
    output:
        drawn("{dataset}/discovery_sensitivity"),
    log:
        f"{RESULTS}/logs/fig_lost_settings/{{dataset}}.log",
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        ENV
    params:
        code=code("fig_lost_settings.py"),
    script:
        "../workflow_scripts/fig_lost_settings.py"


use rule provenance as provenance_discovery with:
    input:
        cards=[f"{RESULTS}/backbones/{row.key}/card.json" for row in DISCOVERY.rows],
        receipts=DISCOVERY.over(f"{RESULTS}/receipts/discover/{{dataset}}/{BACKBONE}.json"),
        samples=[f"{RESULTS}/receipts/boxes/{name}.json" for name in DISCOVERY.sets],
    output:
        f"{RESULTS}/tables/backbones_discovery.csv",
    log:
        f"{RESULTS}/logs/provenance/discovery.log",


use rule gather as gather_discovery with:
    input:
        rows=DISCOVERY.over(f"{RESULTS}/measures/discovery/{{dataset}}/{BACKBONE}.csv")
        + [rules.discovery_pairs.output[0]],
        provenance=rules.provenance_discovery.output[0],
        published="config/published.csv",
    output:
        csv=tabled("discovery"),
        text=f"{RESULTS}/tables/discovery.md",
    log:
        f"{RESULTS}/logs/gather/discovery.log",
    params:
        claim="discovery",
        code=code("gather.py"),


rule discovery:
    input:
        f"{RESULTS}/tables/discovery.csv" if DISCOVERY.sets else [],
        [
            f"{RESULTS}/figures/{name}/discovery/{row.family}/{row.size}.png"
            for name in DISCOVERY.sets
            for row in DISCOVERY.rows
        ],
        expand(f"{RESULTS}/figures/{{name}}/discovery_sensitivity.png", name=DISCOVERY.sets),
