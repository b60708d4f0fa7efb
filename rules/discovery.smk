# Object discovery: LOST under every setting in one pass, one setting chosen on held-out images.

# What the job saw of the set's files; no output, as rules/data.smk says of its own.
BOXES_READ = PATHS.data("{dataset}", "boxes/read.json")


rule index_boxes:
    input:
        ancient(lambda w: DISCOVERY.made_here(w.dataset)),
    output:
        images=PATHS.data("{dataset}", "boxes/images.csv"),
        boxes=PATHS.data("{dataset}", "boxes/boxes.csv"),
        receipt=PATHS.receipt("boxes", "{dataset}"),
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
        source=lambda w: DISCOVERY.layout(w.dataset),
        watch=lambda w: watch_of(DISCOVERY.layout(w.dataset), BOXES_READ.format(dataset=w.dataset)),
        code=code("discovery/index_boxes.py"),
    script:
        "../workflow_scripts/discovery/index_boxes.py"


rule discover:
    input:
        card=PATHS.card(BACKBONE),
        images=rules.index_boxes.output.images,
    output:
        store=directory(f"{RESULTS}/discovery.zarr/{{dataset}}/{BACKBONE}"),
        receipt=PATHS.receipt("discover", "{dataset}", BACKBONE),
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
        root=lambda w: DISCOVERY.layout(w.dataset)["path"],
        sweep=lambda w: {
            key: config["discovery"][key]
            for key in ("blocks", "facets", "normalise", "biases", "candidates")
        },
        batch=config["extract"]["batch"],
        device=config["device"],
        partial=f"{RESULTS}/partial/discovery/{{dataset}}/{BACKBONE}",
        code=code("discovery/discover.py"),
    script:
        "../workflow_scripts/discovery/discover.py"


rule corloc:
    input:
        receipt=rules.discover.output.receipt,
        boxes=rules.index_boxes.output.boxes,
        listed=rules.index_boxes.output.receipt,
    output:
        rows=PATHS.measure("discovery", "{dataset}", BACKBONE),
        settings=PATHS.measure("discovery", "{dataset}", BACKBONE, ending="settings.csv"),
        chosen=PATHS.measure("discovery", "{dataset}", BACKBONE, ending="chosen.json"),
        by_image=PATHS.measure("discovery", "{dataset}", BACKBONE, ending="images.npz"),
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
        code=code("discovery/corloc.py"),
    script:
        "../workflow_scripts/discovery/corloc.py"


rule discovery_pairs:
    input:
        DISCOVERY.over(PATHS.measure("discovery", "{dataset}", BACKBONE, ending="images.npz")),
    output:
        PATHS.measure("discovery", "pairs"),
    log:
        f"{RESULTS}/logs/discovery_pairs/all.log",
    conda:
        LIGHT_ENV
    params:
        who=[STUDY.who(row, name) for name in DISCOVERY.sets for row in DISCOVERY.rows],
        claim="discovery",
        statistics=config["statistics"],
        code=code("tables/pairs.py"),
    script:
        "../workflow_scripts/tables/pairs.py"


rule discovery_maps:
    input:
        card=PATHS.card(BACKBONE),
        images=rules.index_boxes.output.images,
        boxes=rules.index_boxes.output.boxes,
        chosen=rules.corloc.output.chosen,
    output:
        PATHS.figure_data("discovery", "{dataset}", f"{BACKBONE}.nc"),
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
        root=lambda w: DISCOVERY.layout(w.dataset)["path"],
        candidates=lambda w: config["discovery"]["candidates"],
        device=config["device"],
        code=code("discovery/discovery_maps.py"),
    script:
        "../workflow_scripts/discovery/discovery_maps.py"
