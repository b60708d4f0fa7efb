# Outputs as Snakemake's own report shows them (`snakemake --report`): the categories and captions of
# figures and tables are those of config/report.yaml.

SECTIONS = contents.sections(config["report"]["sections"])
CAPTIONS = {
    figure["file"]: (section["title"], figure["caption"])
    for section in SECTIONS
    for figure in section.get("figures", [])
}


def figure_files(name, like=""):
    """Files of the figure ``name`` (below figures/, without ending); ``like``: of that caption."""
    title, caption = CAPTIONS.get(like or name, ("Other figures", name))
    wildcards = [w for w in ("figure", *contents.WILDCARDS) if f"{{{w}}}" in name]
    first, *others = (PATHS.figure(name, ending) for ending in FORMATS)
    shown = report(
        first,
        caption="../workflow_scripts/templates/figure.rst",
        category=title,
        labels={"shows": "maps" if like else caption, **{w: f"{{{w}}}" for w in wildcards}},
    )
    return [shown, *others]


def table_file(name):
    """The file of the table ``name``, which may be a wildcard."""
    return report(
        PATHS.table(name),
        caption="../workflow_scripts/templates/table.rst",
        category="Tables",
        labels={"table": name},
    )


def compared(wildcards):
    """The backbones of one family and size as the job that compares them takes them."""
    name, searched = wildcards.dataset, (config.get("testtime") or {}).get("dataset")
    return [
        {
            "who": STUDY.who(row, name),
            "receipts": STUDY.token_receipts(name, row),
            "base": row.base_key.split("/")[2],
            "cutoffs": PATHS.cutoffs(name, row.key),
            # With the images of this data set on which its neurons were found.
            "searched": STUDY.neurons_of(row) if row.attached and name == searched else "",
        }
        for row in STUDY.of_size(wildcards.family, wildcards.size)
    ]
