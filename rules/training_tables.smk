# Tables and figures of training.


rule gather_training:
    input:
        cards=expand(PATHS.card("{key}"), key=[row.key for row in TRAINED]),
        measures=expand(
            PATHS.measure("norms", "{dataset}", "{key}"),
            dataset=config["analyse"],
            key=[row.key for row in STUDY.before_and_after],
        ),
        accuracy=[file for row in STUDY.before_and_after for file in HEADS.own_accuracy(row)],
        emergence=[PATHS.measure("emergence", name, row.key) for name, row in SNAPSHOTS],
        published=ancient(PUBLISHED),
    output:
        csv=table_file("training"),
        text=PATHS.table("training", "md"),
        histories=PATHS.table("training_histories"),
        emergence=PATHS.table("emergence"),
    log:
        f"{RESULTS}/logs/gather_training/training.log",
    conda:
        LIGHT_ENV
    params:
        backbones=[
            {
                **STUDY.settings(row),
                "card": PATHS.card(row.key),
                "history": PATHS.backbone(row.key, "history.csv"),
            }
            for row in TRAINED
        ],
        measures={
            row.key: [
                *(PATHS.measure("norms", name, row.key) for name in config["analyse"]),
                *HEADS.own_accuracy(row),
            ]
            for row in STUDY.before_and_after
        },
        outliers=config["outliers"],
        confidence=config["statistics"]["confidence"],
        code=code("training/gather_training.py", reads=[PUBLISHED, LABELS]),
    script:
        "../workflow_scripts/training/gather_training.py"


# What small ViTs are trained for: a line for each number of registers.
rule register_counts:
    input:
        training=rules.gather_training.output.csv,
        costs=sorted(set(costs_of_trainings().values())),
        cards=expand(PATHS.card("{key}"), key=[row.key for row in TRAINED]),
    output:
        csv=table_file("register_counts"),
        text=PATHS.table("register_counts", "md"),
    log:
        f"{RESULTS}/logs/register_counts/register_counts.log",
    conda:
        LIGHT_ENV
    params:
        costs=lambda w: costs_of_trainings(),
        times=config["outliers"]["times_median"],
        seeds=lambda w: contents.decided_by(config["report"]["verdicts"])["seeds"],
        code=code("training/register_counts.py"),
    script:
        "../workflow_scripts/training/register_counts.py"


rule training_curves:
    input:
        curves=expand(
            PATHS.measure("norms", "{dataset}", "{key}", ending="curves.csv"),
            dataset=config["analyse"],
            key=[row.key for row in STUDY.before_and_after],
        ),
    output:
        curves=PATHS.figure_data("training_curves.csv.gz"),
    log:
        f"{RESULTS}/logs/training_curves/training_curves.log",
    conda:
        LIGHT_ENV
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
        norms=paged("{dataset}/training_norms"),
        curves=figure_files("{dataset}/training_curves"),
        registers=paged("{dataset}/register_norms"),
        emergence=paged("{dataset}/emergence"),
    log:
        f"{RESULTS}/logs/fig_training/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        bases={row.key: row.base for row in TRAINED},
        times=config["outliers"]["times_median"],
        code=code("training/fig_training.py"),
    script:
        "../workflow_scripts/training/fig_training.py"


rule fig_register_counts:
    input:
        counts=rules.register_counts.output.csv,
    output:
        figure_files("{dataset}/training_registers"),
    log:
        f"{RESULTS}/logs/fig_register_counts/{{dataset}}.log",
    conda:
        LIGHT_ENV
    params:
        times=config["outliers"]["times_median"],
        code=code("training/fig_register_counts.py"),
    script:
        "../workflow_scripts/training/fig_register_counts.py"


rule training:
    input:
        [PATHS.table(name) for name in ("training", "register_counts") if TRAINED],
        (
            expand(PATHS.figure("{dataset}/training_norms"), dataset=config["analyse"])
            if TRAINED
            else []
        ),
        PATHS.table("overhead") if STUDY.overhead else [],
