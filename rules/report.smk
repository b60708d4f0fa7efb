# The report: one file that shows every verdict, table and figure; and single figures.


localrules:
    explorer,
    report,
    figure,


PLAN = contents.planned(TABLES)
PAGES = contents.pages(STUDY)
DRAWN = [name for page in PAGES.values() for name, _ in page]
PROVENANCE = list(dict.fromkeys(table.provenance for table in PLAN.values()))
# Of a study that is not finished, only what there is: --config partial=True.
HAVE = contents.existing if config["partial"] else list


rule explorer:
    input:
        tails=rules.norms.output.tails,
        maps=rules.gallery.output.native,
    output:
        PATHS.figure_data("explorer", "{dataset}", f"{BACKBONE}.json"),
    log:
        f"{RESULTS}/logs/explorer/{{dataset}}/{BACKBONE}.log",
    conda:
        ENV
    params:
        who=who,
        code=code("tokens/explorer.py"),
    script:
        "../workflow_scripts/tokens/explorer.py"


rule report:
    input:
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
        published="config/published.csv",
        sections=config["report"]["sections"],
        verdicts=config["report"]["verdicts"],
        templates=expand(
            "workflow_scripts/templates/{file}",
            file=["report.html", "parts.html", "style.css", "report.js", "explorer.js"],
        ),
    output:
        f"{RESULTS}/report/index.html",
    log:
        f"{RESULTS}/logs/report/report.log",
    conda:
        ENV
    params:
        config={k: v for k, v in config.items() if k not in contents.SWITCHES},
        plan={name: [table.who, table.parts] for name, table in PLAN.items()},
        figures=PAGES,
        sizes={row.key: row.arch.params for row in STUDY.backbones},
        figures_mb=config["report"]["figures_mb"],
        code=code("report/report.py"),
    script:
        "../workflow_scripts/report/report.py"


# Figures whose path holds the name given by --config figure=fig3.
rule figure:
    input:
        contents.named(PATHS, DRAWN, config["figure"], FORMATS),
