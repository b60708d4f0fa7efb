# Tables and figures of object discovery.


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
            PATHS.figure_data("discovery", w.dataset, f"{row.key}.nc")
            for row in on_page(
                "{dataset}/discovery/{family}/{size}",
                f"{w.dataset}/discovery/{w.family}/{w.size}{w.page}",
            )
        ],
    output:
        figure_files(
            "{dataset}/discovery/{family}/{size}{page}",
            like="{dataset}/discovery/{family}/{size}",
        ),
    log:
        f"{RESULTS}/logs/fig_discovery/{{dataset}}/{{family}}/{{size}}{{page}}.log",
    wildcard_constraints:
        page=r"(/page\d+)?",
        dataset=DISCOVERY.names,
    conda:
        LIGHT_ENV
    params:
        code=code("discovery/fig_discovery.py"),
    script:
        "../workflow_scripts/discovery/fig_discovery.py"


rule discovery_settings:
    input:
        settings=DISCOVERY.over(
            PATHS.measure("discovery", "{dataset}", BACKBONE, ending="settings.csv")
        ),
    output:
        settings=PATHS.figure_data("discovery_settings.csv.gz"),
    log:
        f"{RESULTS}/logs/discovery_settings/all.log",
    conda:
        LIGHT_ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_lost_settings:
    input:
        rules.discovery_settings.output.settings,
    output:
        paged("{dataset}/discovery_sensitivity"),
    log:
        f"{RESULTS}/logs/fig_lost_settings/{{dataset}}.log",
    wildcard_constraints:
        dataset=DISCOVERY.names,
    conda:
        LIGHT_ENV
    params:
        code=code("discovery/fig_lost_settings.py"),
    script:
        "../workflow_scripts/discovery/fig_lost_settings.py"


use rule provenance as provenance_discovery with:
    input:
        cards=[PATHS.card(row.key) for row in DISCOVERY.rows],
        receipts=DISCOVERY.over(PATHS.receipt("discover", "{dataset}", BACKBONE)),
        samples=[PATHS.receipt("boxes", name) for name in DISCOVERY.sets],
    output:
        PATHS.table("backbones_discovery"),
    log:
        f"{RESULTS}/logs/provenance/discovery.log",


use rule gather as gather_discovery with:
    input:
        rows=TABLES["discovery"].parts,
        provenance=provenance_of("discovery"),
        published=ancient(PUBLISHED),
    output:
        csv=table_file("discovery"),
        text=PATHS.table("discovery", "md"),
    log:
        f"{RESULTS}/logs/gather/discovery.log",
    params:
        claim="discovery",
        code=code("tables/gather.py", reads=[PUBLISHED, LABELS]),


rule discovery:
    input:
        PATHS.table("discovery") if DISCOVERY.sets else [],
        [
            PATHS.figure(f"{name}/discovery/{row.family}/{row.size}")
            for name in DISCOVERY.sets
            for row in DISCOVERY.rows
        ],
        expand(PATHS.figure("{name}/discovery_sensitivity"), name=DISCOVERY.sets),
