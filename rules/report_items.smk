# Outputs as Snakemake's own report shows them (`snakemake --report`): the categories and captions of
# figures and tables are those of config/report.yaml.

SECTIONS = contents.sections(config["report"]["sections"])
CAPTIONS = {
    figure["file"]: (section["title"], figure["caption"])
    for section in SECTIONS
    for figure in section.get("figures", [])
}
ENTRIES = {figure["file"]: figure for section in SECTIONS for figure in section.get("figures", [])}


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


def paged(name):
    """Files of all pages of a figure of the report, format by format of each page."""
    return [
        file
        for page in contents.paged(STUDY, ENTRIES[name], name)
        for file in figure_files(page, like=name)
    ]


def on_page(entry, path):
    """The backbones on the page of a figure at a path: the figure's entry, whom it is about."""
    name, number = figure_pages.number(path)
    rows = contents.drawn(STUDY, ENTRIES[entry], name)
    return figure_pages.shared_out(rows, len(contents.paged(STUDY, ENTRIES[entry], name)))[
        number - 1
    ]


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
            # The search used one register: its tries stand with the first number of them.
            "trials": (
                PATHS.figure_data("neurons", name, f"{row.base_key}.trials.csv.gz")
                if row.kind == "testtime"
                and name == searched
                and row.register_count == config["testtime"]["registers"][0]
                else ""
            ),
        }
        for row in STUDY.of_size(wildcards.family, wildcards.size)
    ]


def contrasted(dataset):
    """The backbones of Figure 4 as the job that contrasts them takes them."""
    return [
        {
            "who": STUDY.who(row, dataset),
            "receipts": STUDY.token_receipts(dataset, row),
            "cutoffs": PATHS.cutoffs(dataset, row.key),
        }
        for row in paper_figures.selected(STUDY, "fig4_norms")
    ]


def map_settings(wildcards):
    """What a figure of gallery maps shows: a line of MAPS."""
    return MAPS[wildcards.figure.split("/")[0]]


def maps_of(wildcards):
    """Gallery maps of the backbones of a figure: of its number, or of the family in its path."""
    name, *of = wildcards.figure.split("/")
    by_dataset = [entry for entry in ENTRIES if entry.startswith("{dataset}/")]
    entries = {entry.split("/")[1]: entry for entry in by_dataset}
    rows = on_page(entries[name], f"{wildcards.dataset}/{wildcards.figure}")
    return [
        PATHS.figure_data("maps", wildcards.dataset, row.key, f"{MAPS[name]['view']}.nc")
        for row in (rows if of else paper_figures.shown(STUDY, name))
    ]


def costs_of_trainings():
    """Of each backbone trained here, where what registers cost its architecture is measured."""
    return {
        row.key: PATHS.measure("overhead", measured.key)
        for row in TRAINED
        for measured in STUDY.overhead
        if (measured.timm_id.split(".")[0], measured.model)
        == (row.timm_id.split(".")[0], row.model)
    }
