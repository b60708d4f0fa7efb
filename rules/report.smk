# The report: one file that shows every verdict, table and figure; and single figures.


localrules:
    explorer,
    verdict_errors,
    deviations,
    coverage,
    fig_published,
    report,
    figure,


PLAN = contents.planned(TABLES)
PAGES = contents.pages(STUDY)
DRAWN = [name for page in PAGES.values() for name, *_ in page]
PROVENANCE = list(dict.fromkeys(table.provenance for table in PLAN.values()))
# Of a study that is not finished, only what there is: --config partial=True.
HAVE = contents.existing if config["partial"] else list


rule fig_published:
    input:
        tables=expand(PATHS.table("{name}"), name=PLAN),
        published=ancient(PUBLISHED),
    output:
        figure_files("published/measured"),
    log:
        f"{RESULTS}/logs/fig_published/published.log",
    conda:
        LIGHT_ENV
    params:
        code=code("report/fig_published.py", reads=[PUBLISHED]),
    script:
        "../workflow_scripts/report/fig_published.py"


rule explorer:
    input:
        tails=rules.norms.output.tails,
        maps=rules.gallery.output.native,
    output:
        PATHS.figure_data("explorer", "{dataset}", f"{BACKBONE}.json"),
    log:
        f"{RESULTS}/logs/explorer/{{dataset}}/{BACKBONE}.log",
    conda:
        LIGHT_ENV
    params:
        who=who,
        code=code("tokens/explorer.py"),
    script:
        "../workflow_scripts/tokens/explorer.py"


# Simulated: it depends on no measurement, and of the criteria on what they compare alone.
rule verdict_errors:
    input:
        ancient(COUNTED),
    output:
        csv=table_file("verdict_errors"),
        text=PATHS.table("verdict_errors", "md"),
    log:
        f"{RESULTS}/logs/verdict_errors/verdict_errors.log",
    conda:
        LIGHT_ENV
    params:
        content=contents.simulated(config["report"]["verdicts"]),
        code=code("report/verdict_errors.py", reads=[COUNTED]),
    script:
        "../workflow_scripts/report/verdict_errors.py"


# Made of the config and of what the papers say: a changed key changes the parameter.
rule deviations:
    output:
        csv=table_file("deviations"),
        text=PATHS.table("deviations", "md"),
    log:
        f"{RESULTS}/logs/deviations/deviations.log",
    conda:
        ENV
    params:
        rows=deviations(STUDY, of_project("config/papers.yaml")),
        code=code("report/deviations.py"),
    script:
        "../workflow_scripts/report/deviations.py"


# Every item of the sources, and where this study shows it.
rule coverage:
    output:
        csv=table_file("coverage"),
        text=PATHS.table("coverage", "md"),
    log:
        f"{RESULTS}/logs/coverage/coverage.log",
    conda:
        LIGHT_ENV
    params:
        rows=lambda w: coverage(STUDY, of_project("config/sources.csv")),
        code=code("report/coverage.py"),
    script:
        "../workflow_scripts/report/coverage.py"


REPORTED = {
    "labels": LABELS,
    "references": of_project("config/references.csv"),
    "published": PUBLISHED,
    "kinds_counts": of_project("config/kinds_calibration.csv"),
    "sections": config["report"]["sections"],
    "verdicts": config["report"]["verdicts"],
}
TEMPLATES = expand(
    of_project("workflow_scripts/templates/{file}"),
    file=[
        "report.html",
        "parts.html",
        "matrix.html",
        "items.html",
        "style.css",
        "report.js",
        "explorer.js",
        "charts.js",
    ],
)


rule report:
    input:
        **{name: ancient(file) for name, file in REPORTED.items()},
        tables=HAVE(
            expand(
                PATHS.table("{name}"),
                name=[*PLAN, *PROVENANCE, "accounting", "carbon_paper"],
            )
        ),
        parts=(
            HAVE([part for table in PLAN.values() for part in table.parts])
            if config["partial"]
            else []
        ),
        figures=HAVE(expand(PATHS.figure("{name}", "svg"), name=DRAWN)),
        explorer=HAVE(over(PATHS.figure_data("explorer", "{dataset}", f"{BACKBONE}.json"))),
        samples=HAVE(expand(PATHS.receipt("sample", "{name}"), name=config["analyse"])),
        beside=HAVE(
            [
                PATHS.table(name)
                for name in (
                    "verdict_errors",
                    "deviations",
                    "coverage",
                    "by_kind",
                    "calibration",
                    *(["register_counts"] if TRAINED else []),
                )
            ]
        ),
        latex=HAVE([PATHS.table(name, "tex") for name in paper_tables.TABLES]),
        templates=ancient(TEMPLATES),
    output:
        page=f"{RESULTS}/report/index.html",
        csv=table_file("verdicts"),
        text=PATHS.table("verdicts", "md"),
        published=table_file("published"),
        published_text=PATHS.table("published", "md"),
    log:
        f"{RESULTS}/logs/report/report.log",
    conda:
        LIGHT_ENV
    params:
        config=PLAIN_CONFIG,
        plan={name: [t.who, t.parts, t.provenance] for name, t in PLAN.items()},
        figures=PAGES,
        about=contents.about(STUDY),
        facts=facts(STUDY),
        decides=counted_by("calibration/calibrate.py"),
        kinds_decide=counted_by("tokenscope/calibration/kinds.py"),
        figures_mb=config["report"]["figures_mb"],
        code=code("report/report.py", reads=[*REPORTED.values(), *TEMPLATES]),
    script:
        "../workflow_scripts/report/report.py"


# Figures whose path holds the name given by --config figure=fig3.
try:
    NAMED = contents.named(PATHS, DRAWN, str(config["figure"]), FORMATS)
except StudyError as error:
    print(error, file=sys.stderr)
    sys.exit(1)


rule figure:
    input:
        NAMED,
