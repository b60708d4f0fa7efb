# Tables and figures of training.


rule gather_training:
    input:
        cards=expand(f"{RESULTS}/backbones/{{key}}/card.json", key=[row.key for row in TRAINED]),
        measures=expand(
            f"{RESULTS}/measures/norms/{{dataset}}/{{key}}.csv",
            dataset=config["analyse"],
            key=[row.key for row in STUDY.before_and_after],
        ),
        emergence=[f"{RESULTS}/measures/emergence/{name}/{row.key}.csv" for name, row in SNAPSHOTS],
        published="config/published.csv",
    output:
        csv=table_file("training"),
        text=f"{RESULTS}/tables/training.md",
        histories=f"{RESULTS}/tables/training_histories.csv",
        emergence=f"{RESULTS}/tables/emergence.csv",
    log:
        f"{RESULTS}/logs/gather_training/training.log",
    conda:
        ENV
    params:
        backbones=[
            {
                **STUDY.settings(row),
                "card": f"{RESULTS}/backbones/{row.key}/card.json",
                "history": f"{RESULTS}/backbones/{row.key}/history.csv",
            }
            for row in TRAINED
        ],
        measures={
            row.key: [
                f"{RESULTS}/measures/norms/{name}/{row.key}.csv" for name in config["analyse"]
            ]
            for row in STUDY.before_and_after
        },
        confidence=config["statistics"]["confidence"],
        code=code("training/gather_training.py"),
    script:
        "../workflow_scripts/training/gather_training.py"


rule training_curves:
    input:
        curves=expand(
            f"{RESULTS}/measures/norms/{{dataset}}/{{key}}.curves.csv",
            dataset=config["analyse"],
            key=[row.key for row in STUDY.before_and_after],
        ),
    output:
        curves=f"{RESULTS}/figures/data/training_curves.csv.gz",
    log:
        f"{RESULTS}/logs/training_curves/training_curves.log",
    conda:
        ENV
    params:
        code=code("tables/join.py"),
    script:
        "../workflow_scripts/tables/join.py"


rule fig_training:
    input:
        training=rules.gather_training.output.csv,
        histories=rules.gather_training.output.histories,
        emergence=rules.gather_training.output.emergence,
        curves=rules.training_curves.output.curves,
    output:
        norms=figure_files("{dataset}/training_norms"),
        against=figure_files("{dataset}/training_registers"),
        curves=figure_files("{dataset}/training_curves"),
        registers=figure_files("{dataset}/register_norms"),
        emergence=figure_files("{dataset}/emergence"),
    log:
        f"{RESULTS}/logs/fig_training/{{dataset}}.log",
    conda:
        ENV
    params:
        bases={row.key: row.base for row in TRAINED},
        times=config["outliers"]["times_median"],
        code=code("training/fig_training.py"),
    script:
        "../workflow_scripts/training/fig_training.py"


rule training:
    input:
        f"{RESULTS}/tables/training.csv" if TRAINED else [],
        (
            expand(f"{RESULTS}/figures/{{dataset}}/training_norms.png", dataset=config["analyse"])
            if TRAINED
            else []
        ),
        f"{RESULTS}/tables/overhead.csv" if STUDY.overhead else [],
