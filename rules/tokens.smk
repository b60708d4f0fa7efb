# The only place where a backbone runs over a data set: one pass takes everything the claims need.


rule extract:
    input:
        card=PATHS.card(BACKBONE),
        sample=PATHS.data("{dataset}", "sample.csv"),
        pixels=pixels_of,
    output:
        store=directory(f"{RESULTS}/tokens.zarr/{{dataset}}/{BACKBONE}/{{shard}}"),
        receipt=PATHS.receipt("extract", "{dataset}", BACKBONE, "{shard}"),
    log:
        f"{RESULTS}/logs/extract/{{dataset}}/{BACKBONE}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract/{{dataset}}/{BACKBONE}/{{shard}}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("extract"),
        runtime=minutes("extract"),
    params:
        spec=lambda w: row_of(w).spec,
        images=images_of,
        shard=lambda w: STUDY.shard_range(w.dataset, row_of(w), w.shard),
        chunk=lambda w: STUDY.chunk_images(row_of(w)),
        batch=config["extract"]["batch"],
        graphs=config["extract"]["cuda_graphs"],
        keep=lambda w: {"tokens": config["extract"]["tokens"], "logits": own_head(w)},
        device=config["device"],
        partial=f"{RESULTS}/partial/tokens/{{dataset}}/{BACKBONE}/{{shard}}",
        code=code("tokens/extract.py"),
    script:
        "../workflow_scripts/tokens/extract.py"


# The same for large data sets: little is kept per image, and of its tokens a seeded sample.
rule features:
    input:
        unpack(lambda w: {"decision": drawn_by(w)} if bank_of(w) else {}),
        card=PATHS.card(BACKBONE),
        sample=PATHS.data("{dataset}", "sample.csv"),
        pixels=pixels_of,
    output:
        store=directory(f"{RESULTS}/features.zarr/{{dataset}}/{BACKBONE}/{{view}}/{{shard}}"),
        receipt=PATHS.receipt("features", "{dataset}", BACKBONE, "{view}", "{shard}"),
    log:
        f"{RESULTS}/logs/features/{{dataset}}/{BACKBONE}/{{view}}/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/features/{{dataset}}/{BACKBONE}/{{view}}/{{shard}}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("features"),
        runtime=minutes("features"),
    params:
        spec=lambda w: heads.spec(row_of(w), w.view),
        images=images_of,
        shard=lambda w: STUDY.shard_range(w.dataset, row_of(w), w.shard),
        chunk=lambda w: STUDY.feature_chunk(row_of(w), w.view),
        batch=config["extract"]["batch"],
        graphs=config["extract"]["cuda_graphs"],
        bank=bank_of,
        logits=own_head,
        cls_blocks=lambda w: STUDY.heads.cls_blocks(w.dataset, row_of(w)),
        device=config["device"],
        partial=f"{RESULTS}/partial/features/{{dataset}}/{BACKBONE}/{{view}}/{{shard}}",
        code=code("tokens/features.py"),
    script:
        "../workflow_scripts/tokens/features.py"


rule gallery:
    input:
        card=PATHS.card(BACKBONE),
        sample=PATHS.data("{dataset}", "sample.csv"),
    output:
        store=directory(f"{RESULTS}/gallery.zarr/{{dataset}}/{BACKBONE}"),
        native=PATHS.figure_data("maps", "{dataset}", BACKBONE, "native.nc"),
        high=PATHS.figure_data("maps", "{dataset}", BACKBONE, "high.nc"),
        receipt=PATHS.receipt("gallery", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/gallery/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/gallery/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("gallery"),
        runtime=minutes("gallery"),
    params:
        spec=lambda w: row_of(w).spec,
        geometries=lambda w: {
            "native": row_of(w).geometry.key,
            "high": row_of(w)
            .geometry_at(row_of(w).size_near(config["gallery"]["high_resolution"]))
            .key,
        },
        root=lambda w: STUDY.image_root(w.dataset),
        images=config["gallery"]["images"],
        ids=config["gallery"]["ids"],
        device=config["device"],
        partial=f"{RESULTS}/partial/gallery/{{dataset}}/{BACKBONE}",
        code=code("tokens/gallery.py"),
    script:
        "../workflow_scripts/tokens/gallery.py"


localrules:
    consolidate,


# One index over all groups of a hierarchy, from the list of its groups and not from a walk.
rule consolidate:
    input:
        lambda w: (
            all_receipts()
            if w.hierarchy == "tokens"
            else over(PATHS.receipt("gallery", "{dataset}", BACKBONE))
        ),
    output:
        PATHS.index("{hierarchy}"),
    log:
        f"{RESULTS}/logs/consolidate/{{hierarchy}}.log",
    wildcard_constraints:
        hierarchy="tokens|gallery",
    conda:
        LIGHT_ENV
    params:
        code=code("tokens/consolidate.py"),
    script:
        "../workflow_scripts/tokens/consolidate.py"
