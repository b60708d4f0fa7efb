# One answer for one or two backbones: does it have artifacts, are they about place or about content, and
# what can be done about it. The page behind `make diagnose`.


localrules:
    diagnosis_page,
    fig_diagnosis,


rule diagnosis:
    input:
        receipts=receipts_of,
    output:
        rows=PATHS.measure("diagnosis", "{dataset}", BACKBONE),
        images=PATHS.measure("diagnosis", "{dataset}", BACKBONE, ending="images.csv"),
        verdict=PATHS.figure_data("diagnosis", "{dataset}", f"{BACKBONE}.json"),
    log:
        f"{RESULTS}/logs/diagnosis/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/diagnosis/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("diagnosis"),
        runtime=minutes("diagnosis"),
    params:
        who=who,
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("diagnosis/diagnosis.py"),
    script:
        "../workflow_scripts/diagnosis/diagnosis.py"


SEEN = config.get("diagnose", {}).get("dataset", "none")
DIAGNOSIS_FILES = {
    "verdicts": probed(PATHS.figure_data("diagnosis", SEEN, f"{BACKBONE}.json"), STUDY.diagnosed),
    "maps": probed(PATHS.figure_data("maps", SEEN, BACKBONE, "native.nc"), STUDY.diagnosed),
}


PAGE_FILES = {
    "style": of_project("workflow_scripts/templates/style.css"),
    "template": of_project("workflow_scripts/templates/diagnosis.html"),
}


rule diagnosis_page:
    input:
        **DIAGNOSIS_FILES,
        **{name: ancient(file) for name, file in PAGE_FILES.items()},
        rows=TABLES["diagnosis"].parts,
        images=probed(
            PATHS.measure("diagnosis", SEEN, BACKBONE, ending="images.csv"), STUDY.diagnosed
        ),
        norms=probed(PATHS.measure("norms", SEEN, BACKBONE), STUDY.diagnosed),
        curves=probed(PATHS.measure("norms", SEEN, BACKBONE, ending="curves.csv"), STUDY.diagnosed),
        places=probed(PATHS.measure("norms", SEEN, BACKBONE, ending="places.csv"), STUDY.diagnosed),
        registers=list(
            dict.fromkeys(
                PATHS.measure("registers", SEEN, row.family, row.size) for row in STUDY.diagnosed
            )
        ),
        neurons=[STUDY.neurons_of(row) for row in STUDY.diagnosed if row in STUDY.testtime_bases],
        probes=probed(
            PATHS.measure("probes", BANK, BACKBONE),
            [row for row in STUDY.diagnosed if row in STUDY.probing.rows],
        ),
        heads=[
            PATHS.measure("heads", SEEN, row.key, "native")
            for row, view in HEADS.jobs
            if row in STUDY.diagnosed
            and view == "native"
            and HEADS.own(row)
            and HEADS.test == SEEN
        ],
        kinds=probed(
            PATHS.measure("kinds", SEEN, BACKBONE), STUDY.diagnosed if config.get("kinds") else []
        ),
        backbones=PATHS.table("backbones"),
        cards=probed(PATHS.card(BACKBONE), STUDY.diagnosed),
    output:
        page=PATHS.page(),
        record=PATHS.page("json"),
        table=PATHS.table("diagnosis"),
    log:
        f"{RESULTS}/logs/diagnosis_page/diagnosis.log",
    conda:
        ENV
    params:
        study=config["study"],
        backbones=[STUDY.who(row, SEEN) for row in STUDY.diagnosed],
        specs=[{**row.spec, "remark": row.note} for row in STUDY.diagnosed],
        images=(
            {"path": STUDY.layout(SEEN)["path"], "seed": STUDY.datasets[SEEN]["seed"]}
            if STUDY.diagnosed
            else {}
        ),
        outliers=config["outliers"],
        statistics=config["statistics"],
        folder=PATHS.accounting(),
        site=vars(SITE),
        code=code(
            "diagnosis/diagnosis_page.py",
            reads=[*PAGE_FILES.values(), LABELS],
        ),
    script:
        "../workflow_scripts/diagnosis/diagnosis_page.py"


# The picture of its page, from what is packed.
rule fig_diagnosis:
    input:
        **DIAGNOSIS_FILES,
        curves=rules.norm_curves.output.curves,
        places=rules.norm_curves.output.places,
    output:
        figure_files("diagnosis/overview"),
    log:
        f"{RESULTS}/logs/fig_diagnosis/overview.log",
    conda:
        LIGHT_ENV
    params:
        backbones=[STUDY.who(row, SEEN) for row in STUDY.diagnosed],
        outliers=config["outliers"],
        code=code("diagnosis/fig_diagnosis.py"),
    script:
        "../workflow_scripts/diagnosis/fig_diagnosis.py"


rule diagnose:
    input:
        PATHS.page() if STUDY.diagnosed else [],
