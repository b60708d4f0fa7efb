# What the study took: energy, CO2 and service units, job by job, and the paper's own section.


localrules:
    accounting,
    fig_energy,


MEASURING = [
    rules.claim1,
    rules.claim2,
    rules.claim3,
    rules.claim4,
    rules.claim5,
    rules.controls,
    rules.testtime,
    rules.discovery,
    rules.dense,
    rules.training,
]


# Gathered when the measurements are: figures drawn at the same moment are in the next one.
rule accounting:
    input:
        tables=[path for rule in MEASURING for path in rule.input if PATHS.is_table(path)],
        indexes=[PATHS.index(name) for name in ("tokens", "gallery")],
        published=ancient(PUBLISHED),
    output:
        jobs=table_file("accounting"),
        text=PATHS.table("accounting", "md"),
        paper=table_file("carbon_paper"),
        paper_text=PATHS.table("carbon_paper", "md"),
    log:
        f"{RESULTS}/logs/accounting/accounting.log",
    conda:
        LIGHT_ENV
    params:
        folder=PATHS.accounting(),
        site=vars(SITE),
        code=code("report/accounting.py", reads=[PUBLISHED]),
    script:
        "../workflow_scripts/report/accounting.py"


rule fig_energy:
    input:
        rules.accounting.output.jobs,
    output:
        energy=figure_files("carbon/energy"),
        forecast=figure_files("carbon/forecast"),
        images=figure_files("carbon/co2_by_backbone"),
    log:
        f"{RESULTS}/logs/fig_energy/energy.log",
    conda:
        LIGHT_ENV
    params:
        site=vars(SITE),
        code=code("report/fig_energy.py"),
    script:
        "../workflow_scripts/report/fig_energy.py"


rule carbon:
    input:
        rules.accounting.output,
        rules.fig_energy.output,
