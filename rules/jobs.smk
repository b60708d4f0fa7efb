# Where a job finds what others made, and what it asks for.


def features_of(name, row, view="native"):
    """Receipts of all shards of a backbone's feature pass over a data set."""
    folder = f"{RESULTS}/receipts/features/{name}/{row.key}/{view}"
    return [f"{folder}/{shard}.json" for shard in STUDY.shards(name, row)]


def bank_receipts(wildcards):
    """Receipts of the feature pass that drew a backbone's bank."""
    return features_of(wildcards.dataset, row_of(wildcards))


def probed(pattern, rows=None):
    """The pattern for every probed backbone."""
    rows = STUDY.probing.rows if rows is None else rows
    return [
        pattern.format(**{c: getattr(r, c) for c in ("family", "size", "registers")}) for r in rows
    ]


def receipts_of(wildcards):
    """Receipts of all shards of one backbone on one data set."""
    return receipts(wildcards.dataset, row_of(wildcards))


def receipts(name, row):
    """The same, for a data set and a backbone."""
    folder = f"{RESULTS}/receipts/extract/{name}/{row.key}"
    return [f"{folder}/{shard}.json" for shard in STUDY.shards(name, row)]


def all_receipts(wildcards=None):
    """Receipts of every extraction of the study."""
    return [r for name in config["analyse"] for row in STUDY.chosen for r in receipts(name, row)]


def maps_of(wildcards):
    """Gallery maps of every backbone of one family, at the resolution of the figure."""
    view = MAPS[wildcards.get("figure", "fig1_attention")]["view"]
    folder = f"{RESULTS}/figures/data/maps/{wildcards.dataset}"
    rows = [row for row in STUDY.chosen if row.family == wildcards.family]
    return [f"{folder}/{row.key}/{view}.nc" for row in rows]


def measures_of(wildcards):
    """Measurements that make up a table."""
    if wildcards.table == "registers":
        sizes = dict.fromkeys((row.family, row.size) for row in STUDY.chosen)
        folder = f"{RESULTS}/measures/registers"
        return [f"{folder}/{name}/{f}/{s}.csv" for name in config["analyse"] for f, s in sizes]
    if wildcards.table in ("claim4", "sensitivity"):
        kind = {"claim4": "probes"}.get(wildcards.table, "sensitivity")
        rows = STUDY.probing.rows if kind == "probes" else STUDY.probing.varied
        return probed(f"{RESULTS}/measures/{kind}/{BANK}/{BACKBONE}.csv", rows)
    kind = "redundancy" if wildcards.table == "claim3" else "norms"
    rows = over(f"{RESULTS}/measures/{kind}/{{dataset}}/{BACKBONE}.csv")
    return rows + STUDY.heads.measures if wildcards.table == "claim5" else rows


def provenance_of(wildcards):
    """What a table rests on: the analysed data sets, or that of the probes."""
    bank = wildcards.table in ("claim4", "sensitivity")
    return f"{RESULTS}/tables/{'bank' if bank else 'backbones'}.csv"


def gpu(wildcards=None):
    """GPUs of a job that runs a backbone."""
    return 0 if config["device"] == "cpu" else 1


def minutes(rule):
    """Reserved minutes by the cost model, twice the expectation, more on each attempt."""
    return lambda wildcards, threads, attempt: time_model.minutes(
        STUDY, rule, wildcards, threads, attempt
    )


def megabytes(rule):
    """Reserved host memory in MB by tokenscope.cost.memory_model, more on each attempt."""
    return lambda wildcards, threads, attempt: memory_model.megabytes(
        STUDY, rule, wildcards, threads, attempt
    )


def bank_of(wildcards):
    """How a feature pass draws tokens; empty where it keeps none."""
    return STUDY.probing.bank(wildcards.dataset, row_of(wildcards), wildcards.view)


def cutoffs_of(wildcards):
    """The cutoffs a bank is drawn with: of the same backbone, on the analysed sample."""
    return f"{RESULTS}/cutoffs/{config['probes']['cutoffs']}/{row_of(wildcards).key}.json"
