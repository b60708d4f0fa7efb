# One answer for one or two backbones: does it have artifacts, are they about place or about content, and
# what can be done about it. The page behind `make diagnose`.


localrules:
    diagnosis_page,
    fig_diagnosis,


rule diagnosis:
    input:
        receipts=receipts_of,
        norms=rules.norms.output.rows,
    output:
        rows=f"{RESULTS}/measures/diagnosis/{{dataset}}/{BACKBONE}.csv",
        images=f"{RESULTS}/measures/diagnosis/{{dataset}}/{BACKBONE}.images.csv",
        verdict=f"{RESULTS}/figures/data/diagnosis/{{dataset}}/{BACKBONE}.json",
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
DIAGNOSIS = f"{RESULTS}/measures/diagnosis/{SEEN}/{BACKBONE}"
SITTERS = {
    "verdicts": probed(f"{RESULTS}/figures/data/diagnosis/{SEEN}/{BACKBONE}.json", STUDY.diagnosed),
    "maps": probed(f"{RESULTS}/figures/data/maps/{SEEN}/{BACKBONE}/native.nc", STUDY.diagnosed),
}


rule diagnosis_page:
    input:
        **SITTERS,
        rows=probed(f"{DIAGNOSIS}.csv", STUDY.diagnosed),
        images=probed(f"{DIAGNOSIS}.images.csv", STUDY.diagnosed),
        norms=probed(f"{RESULTS}/measures/norms/{SEEN}/{BACKBONE}.csv", STUDY.diagnosed),
        curves=probed(f"{RESULTS}/measures/norms/{SEEN}/{BACKBONE}.curves.csv", STUDY.diagnosed),
        places=probed(f"{RESULTS}/measures/norms/{SEEN}/{BACKBONE}.places.csv", STUDY.diagnosed),
        registers=list(
            dict.fromkeys(
                f"{RESULTS}/measures/registers/{SEEN}/{row.family}/{row.size}.csv"
                for row in STUDY.diagnosed
            )
        ),
        neurons=[STUDY.neurons_of(row) for row in STUDY.diagnosed if row in STUDY.searched],
        probes=probed(
            f"{RESULTS}/measures/probes/{BANK}/{BACKBONE}.csv",
            [row for row in STUDY.diagnosed if row in STUDY.probing.rows],
        ),
        backbones=f"{RESULTS}/tables/backbones.csv",
        style="workflow_scripts/templates/style.css",
        template="workflow_scripts/templates/diagnosis.html",
    output:
        page=f"{RESULTS}/diagnosis.html",
        table=f"{RESULTS}/tables/diagnosis.csv",
    log:
        f"{RESULTS}/logs/diagnosis_page/diagnosis.log",
    conda:
        ENV
    params:
        study=config["study"],
        backbones=[STUDY.who(row, SEEN) for row in STUDY.diagnosed],
        outliers=config["outliers"],
        statistics=config["statistics"],
        folder=f"{RESULTS}/accounting",
        site=vars(SITE),
        code=code("diagnosis/diagnosis_page.py"),
    script:
        "../workflow_scripts/diagnosis/diagnosis_page.py"


# The picture of its page, from what is packed.
rule fig_diagnosis:
    input:
        **SITTERS,
        curves=rules.norm_curves.output.curves,
        places=rules.norm_curves.output.places,
    output:
        figure_files("diagnosis/overview"),
    log:
        f"{RESULTS}/logs/fig_diagnosis/overview.log",
    conda:
        ENV
    params:
        backbones=[STUDY.who(row, SEEN) for row in STUDY.diagnosed],
        outliers=config["outliers"],
        code=code("diagnosis/fig_diagnosis.py"),
    script:
        "../workflow_scripts/diagnosis/fig_diagnosis.py"


rule diagnose:
    input:
        f"{RESULTS}/diagnosis.html" if STUDY.diagnosed else [],
