# Where a job finds what others made: which backbone, images, receipts and measures it is about.


def row_of(wildcards):
    """The backbone a job is about."""
    return STUDY.rows[f"{wildcards.family}/{wildcards.size}/{wildcards.registers}"]


def base_row(wildcards):
    """The trained ViT that a phantom is made from."""
    return STUDY.rows[row_of(wildcards).base]


def who(wildcards):
    """The columns that name a backbone and a data set in every tidy row."""
    return STUDY.who(row_of(wildcards), wildcards.dataset)


def own_head(wildcards):
    """Whether the backbone's head knows the classes of the data set."""
    row = row_of(wildcards)
    same = row.classes and row.classes == STUDY.classes(wildcards.dataset)
    return bool(same) and row.arch.num_classes > 0


def over(pattern):
    """The pattern for every analysed data set and chosen backbone."""
    return [
        pattern.format(dataset=name, family=row.family, size=row.size, registers=row.registers)
        for name in config["analyse"]
        for row in STUDY.backbones
    ]


def probed(pattern, rows=None):
    """The pattern for every probed backbone."""
    rows = STUDY.probing.rows if rows is None else rows
    return [
        pattern.format(**{c: getattr(r, c) for c in ("family", "size", "registers")}) for r in rows
    ]


def local_weights(wildcards):
    """A row's weights file (or shards), watched once it exists; not one fetched from the hub."""
    file, cache = row_of(wildcards).weights, config["weights"]["cache"]
    here = file and not hub_folder.repo_of(file, cache) and Path(file).exists()
    return weights_files.here(file) if here else []


def training_images(row):
    """Receipt and store of the decoded images a backbone is trained on."""
    return decoded(STUDY.recipe(row)["dataset"], row.geometry)


def training_inputs(wildcards):
    """Images of a training, and the card of the backbone it starts from."""
    row = row_of(wildcards)
    images = STUDY.training_images(row)
    files = {"images": images.get("sample") or images["receipt"]}
    if row.base:
        files["base"] = PATHS.card(row.base)
    return files


def rendered_labels(wildcards):
    """Labels of rendered scenes; nothing that we make for other data sets."""
    scenes = STUDY.datasets[wildcards.dataset]["type"] == "scenes"
    return [PATHS.data(wildcards.dataset, "labels.csv")] if scenes else []


def missing_images(jobs):
    """What the config says of images and labels that is not so here, of the data sets jobs read."""
    rules_ = ("index", "sample", "decode", "gallery")
    names = {job.wildcards.dataset for job in jobs if job.rule.name in rules_}
    return ANSWERS.located("\n".join(needs.missing(STUDY, names)))


def read_by(jobs):
    """The data sets that jobs read, those with boxes and maps among them."""
    rules_ = ("index", "sample", "decode", "gallery", "index_boxes", "index_targets")
    return {job.wildcards.dataset for job in jobs if job.rule.name in rules_}


def check_images(jobs):
    """Refuse to start jobs on images that are not there; a dry run needs none."""
    if said := missing_images(jobs):
        where = "nodes alone see them? Start Snakemake there (profiles/README.md, The controller)"
        raise WorkflowError(f"{said}\n{where}")


def remark_missing():
    """At the end of a dry run: what a run would not find here."""
    if workflow.dryrun and workflow.dag is not None:
        if jobs := list(workflow.dag.needrun_jobs(exclude_finished=False)):
            names = None if config["check"] else read_by(jobs)
            lacking = needs.missing(STUDY, names, weights=True)
            lacking = ANSWERS.located("\n".join(lacking)).splitlines()
            shown = lacking if len(lacking) <= 4 or config["check"] else lacking[:3]
            for sentence in shown:
                print(f"not here: {sentence}", flush=True)
            if lacking[len(shown) :]:
                print(f"not here: {len(lacking) - len(shown)} more (make check lists them)")


def remark_target():
    """After a target that nothing makes: the nearest that there are."""
    if workflow.dag is None or any(True for _ in workflow.dag.jobs):
        return
    made = {rule.name for rule in workflow.rules if not rule.has_wildcards()}
    made |= {PATHS.figure(name, ending) for name in DRAWN for ending in FORMATS}
    made |= {PATHS.table(name, ending) for name in PLAN for ending in ("csv", "md")}
    for target in map(str, workflow.dag_settings.targets):
        if target not in made and (near := closest(target, sorted(made), 3)):
            print(f"nothing makes '{target}'; nearest: {near}", file=sys.stderr)


def geometry_of(wildcards):
    """How a job shows images to its backbone: natively, unless it has a view."""
    return STUDY.view(row_of(wildcards), wildcards.get("view", "native"))


def decoded(name, geometry):
    """Receipt and store of the decoded images of one geometry."""
    return (
        PATHS.receipt("decode", name, geometry.key),
        PATHS.pixels(name, geometry.key),
    )


def pixels_of(wildcards):
    """Receipt of the decoded images a job reads, or the sample when it decodes on the way."""
    name, geometry = wildcards.dataset, geometry_of(wildcards)
    sample = PATHS.data(name, "sample.csv")
    return sample if STUDY.streamed(name, geometry) else decoded(name, geometry)[0]


def images_of(wildcards):
    """Where a job's images are: the fields of tokenscope.images.readers.ImageInputs."""
    name, geometry = wildcards.dataset, geometry_of(wildcards)
    kept = () if STUDY.streamed(name, geometry) else decoded(name, geometry)
    return {
        "sample": PATHS.data(name, "sample.csv"),
        "root": STUDY.image_root(name),
        "geometry": geometry.key,
        **dict(zip(("receipt", "decoded"), kept, strict=False)),
    }


def receipts_of(wildcards):
    """Receipts of all shards of one backbone on one data set."""
    return STUDY.token_receipts(wildcards.dataset, row_of(wildcards))


def all_receipts(wildcards=None):
    """Receipts of every extraction of the study."""
    return [receipt for pair in STUDY.passes for receipt in STUDY.token_receipts(*pair)]


def bank_inputs(wildcards):
    """Receipts of the feature passes that drew a backbone's bank; of the data set that probes are
    tested on, and of the check that no image is in both, where there is one."""
    row, test = row_of(wildcards), STUDY.probing.test
    inputs = {"receipts": STUDY.feature_receipts(wildcards.dataset, row)}
    if test:
        inputs["tested"] = STUDY.feature_receipts(test, row)
        inputs["splits"] = PATHS.receipt("splits", wildcards.dataset, test)
    return inputs


def of_heads(wildcards):
    """Whether two data sets are those that heads are trained and tested on."""
    pair = (wildcards.train, wildcards.test)
    return bool(HEADS.settings) and pair == (HEADS.train, HEADS.test)


def bank_of(wildcards):
    """How a feature pass draws tokens; empty where it keeps none."""
    return STUDY.probing.bank(wildcards.dataset, row_of(wildcards), wildcards.view)


def drawn_by(wildcards):
    """The decision a bank is drawn by: on the same backbone, on the analysed sample."""
    return PATHS.cutoffs(PROBES["cutoffs"], f"{row_of(wildcards).key}/decision")


def cutoffs_of(wildcards):
    """The cutoffs of all rules, of the same backbone on the analysed sample."""
    return PATHS.cutoffs(PROBES["cutoffs"], row_of(wildcards).key)


def measures_of(wildcards):
    """Measurements that make up a table."""
    return TABLES[wildcards.table].parts


def provenance_of(name):
    """The table of weights and images that a table rests on."""
    return PATHS.table(TABLES[name].provenance)
