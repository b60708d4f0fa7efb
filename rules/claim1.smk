# Claim 1: the maps of modern ViTs show artifacts (main paper, Figs 1, 2, 5, 6, 7).


rule fig_maps:
    input:
        maps_of,
    output:
        figure_files("{dataset}/{figure}/{family}", like="{dataset}/fig1_attention/{family}"),
    log:
        f"{RESULTS}/logs/fig_maps/{{dataset}}/{{figure}}/{{family}}.log",
    wildcard_constraints:
        figure="|".join(MAPS),
    conda:
        LIGHT_ENV
    params:
        layers=lambda w: MAPS[w.figure]["layers"],
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_maps.py"),
    script:
        "../workflow_scripts/tokens/fig_maps.py"


rule fig_qkv:
    input:
        maps_of,
    output:
        figure_files("{dataset}/fig6_qkv/{family}"),
    log:
        f"{RESULTS}/logs/fig_qkv/{{dataset}}/{{family}}.log",
    conda:
        LIGHT_ENV
    params:
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_qkv.py"),
    script:
        "../workflow_scripts/tokens/fig_qkv.py"


rule fig_blocks:
    input:
        rules.gallery.output.native,
    output:
        figure_files(f"{{dataset}}/fig7_blocks/{BACKBONE}"),
    log:
        f"{RESULTS}/logs/fig_blocks/{{dataset}}/{BACKBONE}.log",
    conda:
        LIGHT_ENV
    params:
        times=config["outliers"]["times_median"],
        code=code("tokens/fig_blocks.py"),
    script:
        "../workflow_scripts/tokens/fig_blocks.py"


rule claim1:
    input:
        PATHS.table("claim1"),
        expand(
            PATHS.figure("{dataset}/{figure}/{family}"),
            dataset=config["analyse"],
            figure=[*MAPS, "fig6_qkv"],
            family=STUDY.families,
        ),
        over(PATHS.figure(f"{{dataset}}/fig7_blocks/{BACKBONE}")),
