# Claim 1: the maps of modern ViTs show artifacts (main paper, Figs 1, 2, 5, 6, 7).


rule fig_maps:
    input:
        maps_of,
    output:
        figure_files("{dataset}/{figure}", like="{dataset}/fig1_features"),
    log:
        f"{RESULTS}/logs/fig_maps/{{dataset}}/{{figure}}.log",
    wildcard_constraints:
        figure=r"fig[125]_[a-z_]+|(attention|features|high_resolution)/[^/]+(/page\d+)?",
    conda:
        LIGHT_ENV
    params:
        layers=lambda w: map_settings(w)["layers"],
        images=lambda w: map_settings(w).get("images", config["gallery"]["images"]),
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_maps.py"),
    script:
        "../workflow_scripts/tokens/fig_maps.py"


rule fig_qkv:
    input:
        maps_of,
    output:
        figure_files("{dataset}/{figure}", like="{dataset}/fig6_qkv"),
    log:
        f"{RESULTS}/logs/fig_qkv/{{dataset}}/{{figure}}.log",
    wildcard_constraints:
        figure=r"fig6_qkv|qkv/[^/]+(/page\d+)?",
    conda:
        LIGHT_ENV
    params:
        images=lambda w: map_settings(w)["images"],
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_qkv.py"),
    script:
        "../workflow_scripts/tokens/fig_qkv.py"


rule fig_blocks:
    input:
        maps_of,
    output:
        figure_files("{dataset}/{figure}", like="{dataset}/fig7_blocks"),
    log:
        f"{RESULTS}/logs/fig_blocks/{{dataset}}/{{figure}}.log",
    wildcard_constraints:
        figure="fig7_blocks|blocks/[^/]+/[^/]+/[^/]+",
    conda:
        LIGHT_ENV
    params:
        images=lambda w: map_settings(w)["images"],
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_blocks.py"),
    script:
        "../workflow_scripts/tokens/fig_blocks.py"


# The same backbone without and with registers, side by side.
rule fig_pairs:
    input:
        lambda w: [
            PATHS.figure_data("maps", w.dataset, key, "native.nc")
            for row in on_page("{dataset}/pairs", f"{w.dataset}/pairs{w.page}")
            for key in (row.base_key, row.key)
        ],
    output:
        figure_files("{dataset}/pairs{page}", like="{dataset}/pairs"),
    log:
        f"{RESULTS}/logs/fig_pairs/{{dataset}}{{page}}.log",
    wildcard_constraints:
        page=r"(/page\d+)?",
    conda:
        LIGHT_ENV
    params:
        times=config["outliers"]["times_median"],
        code=code("registers/fig_pairs.py"),
    script:
        "../workflow_scripts/registers/fig_pairs.py"


rule claim1:
    input:
        PATHS.table("claim1"),
        expand(PATHS.figure("{dataset}/attention_norms"), dataset=config["analyse"]),
        [
            PATHS.figure(page)
            for name in config["analyse"]
            if contents.paired(STUDY)
            for page in contents.paged(STUDY, ENTRIES["{dataset}/pairs"], f"{name}/pairs")
        ],
        expand(
            PATHS.figure("{dataset}/{figure}"),
            dataset=config["analyse"],
            figure=[name for name in MAPS if name.startswith("fig")],
        ),
        expand(
            PATHS.figure("{dataset}/{figure}/{family}"),
            dataset=config["analyse"],
            figure=["attention", "features", "high_resolution", "qkv"],
            family=STUDY.families,
        ),
        over(PATHS.figure(f"{{dataset}}/blocks/{BACKBONE}")),
