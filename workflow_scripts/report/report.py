"""Write the report: one file with every verdict, table and figure, that needs no network."""

from pathlib import Path

import jinja2
import pandas as pd
import yaml

from tokenscope.calibration import summary as errors_in_words
from tokenscope.calibration.summary import headline, seen_with, summaries
from tokenscope.calibration.summary import read as read_counts
from tokenscope.errors import StudyError
from tokenscope.figures.in_numbers import sentence as sentence_of
from tokenscope.jobs.job import job, log
from tokenscope.phantoms.comparison import KIND_HEADER, kind_lines
from tokenscope.report import backbones, contents, partial_tables, pictures, template_data
from tokenscope.report.contents import PlannedTable
from tokenscope.report.coverage import by_source
from tokenscope.report.studied import phantoms_judged, studied
from tokenscope.report.texts import linked, references, shown
from tokenscope.status import summary, text
from tokenscope.stores.receipts import write_text
from tokenscope.study.paths import Paths
from tokenscope.tables import beside, by_kind, paper_tables, probe_tables, tidy
from tokenscope.tables.formatting import heading, in_words, number_text, words
from tokenscope.tables.published import Published
from tokenscope.tables.rests_on import made, page_end, sentence
from tokenscope.training import register_counts
from tokenscope.verdicts import simulation
from tokenscope.verdicts import table as verdict_table
from tokenscope.verdicts.answers import CONTRADICTED, INSTRUMENT, NOT_RUN, SUPPORTED, UNDECIDED
from tokenscope.verdicts.conditions import Facts
from tokenscope.verdicts.criteria import of
from tokenscope.verdicts.engine import judge
from tokenscope.verdicts.evidence import Evidence
from tokenscope.verdicts.subjects import Study

CHARTS = "charts.js"  # the chart library of the norm explorer, as one script that fetches nothing
# Tables of weights and images; others rest on the first.
PROVENANCE = ("backbones", "bank", "backbones_discovery", "backbones_dense")
SUMS = ["gpu_hours", "core_hours", "kwh", "co2_kg", "units"]


def main(results, config, plan, facts, figures_mb, published, files, explorers, samples, templates,
         output, tables, decides, code, kinds_counts, kinds_decide, about):  # fmt: skip
    """Render the report of a study, complete or not.

    One parameter for each input and param of the rule, but that ``results`` and ``templates`` stand
    for what is read below them where it is there.

    Args:
        results: folder of the study; tables and figures that are not there are said to be missing.
        config: the study's config, shown as it is; ``report`` names sections and verdicts.
        plan: by table, what it is planned to hold, the files it is joined from, and the table of
            weights and images that it rests on.
        facts: what the study knows of its backbones (:mod:`tokenscope.report.facts`).
        figures_mb: what embedded figures may take together; others are linked.
        published: ``config/published.csv``.
        files: by section, its figures with their captions and ranks (contents.pages).
        explorers, samples: files of the norm explorer, and receipts of the samples.
        templates: folder of the page's template, styles and scripts.
        output: path of the page.
        tables: paths of the table of verdicts, ``csv`` and ``text``, and of the published figures
            with ours beside them, ``published`` and ``published_text``.
        decides: hash of the code that decides about artifacts: counts of its errors made by
            another are marked.
        code: the hash of the code, printed on the page.
        kinds_counts: ``config/kinds_calibration.csv``, how often the answers of the kinds err.
        kinds_decide: hash of the code that was counted there, as it is now.
        about: by figure the backbones that it shows (contents.about).
    """
    root, paths, published = Path(results), Paths(results), Published(published)
    read, rests = {}, _rests_on(paths, plan)
    for name, (who, parts, *behind) in plan.items():
        planned = PlannedTable([tuple(pair) for pair in who], parts, *behind)
        read[name] = partial_tables.read(name, Path(paths.table(name)), planned)
    criteria = of(contents.load(config["report"]["verdicts"], "verdicts.schema.yaml"))
    sections = contents.sections(config["report"]["sections"])
    if unknown := set(criteria.by_section) - {section["id"] for section in sections}:
        raise StudyError(f"{config['report']['verdicts']}: no section is named {sorted(unknown)}")
    lines = judge_all(criteria, read, Facts(**facts), config["statistics"])
    behind = page_end(rests[""] or made())
    write_text(tables["text"], "\n".join([verdict_table.page(lines, criteria), *behind]))
    verdict_table.frame(lines, criteria).to_csv(tables["csv"], index=False, float_format="%.7g")
    errors = _errors(paths)
    compared = beside.beside(published.rows, {name: t.rows for name, t in read.items()})
    write_text(tables["published_text"], "\n".join([beside.page(compared), *behind]))
    compared.to_csv(tables["published"], index=False, float_format="%.7g")
    calibration, accounting = _calibration(paths, read, decides), _accounting(paths)
    said = {"calibration/answers": calibration[0]["headline"] if calibration else ""}
    if accounting:
        said["carbon/energy"] = f"All jobs together: {1000 * accounting['all'][2]:.3g} Wh."
    drawn = pictures.embedded(pictures.by_importance(files), root / "figures", figures_mb)
    rows, pages, names = {name: table.rows for name, table in read.items()}, [], {}
    printed = {
        name: paper_tables.printed(name, rows.get(t.claim, tidy.none()), published.rows)
        for name, t in paper_tables.TABLES.items()
    }
    for section in sections:
        own = criteria.by_section.get(section["id"], [])
        verdicts = template_data.verdict_rows(own, lines, errors)
        pages.append(
            dict.fromkeys(("explorer", "accounting", "calibration"), False)
            | {"disagreements": [], "short": ""}
            | section
            | {
                "answers": probe_tables.tables(read["claim4"].rows, published.citations)
                if section.get("answers") and "claim4" in read
                else [],
                "printed": [
                    (table, f"tables/{name}.tex" if (root / f"tables/{name}.tex").exists() else "")
                    for name, table in printed.items()
                    if paper_tables.TABLES[name].claim == section["id"]
                ],
                "page": _page(root, section.get("page", "")),
                "counts": _counts(paths) if section.get("counts") else [],
                "by_kind": by_kind.shown(paths.table("by_kind")) if section.get("by_kind") else {},
                "planted": [
                    [phantom, dataset, words(kind), *cells]
                    for phantom, dataset, kind, *cells in kind_lines(read["controls"].rows)
                ]
                if section.get("planted") and "controls" in read
                else [],
                "errors": _errors_of_kinds(kinds_counts, kinds_decide)
                if section.get("errors") and "kinds" in read and len(read["kinds"].rows)
                else {},
                "verdicts": verdicts,
                "answer": template_data.in_one_line(section["title"], verdicts),
                "tables": [
                    template_data.table(one["name"], one, read[one["name"]], published)
                    | {
                        "rests": rests.get(one["name"], ""),
                        "anchor": _anchor(one["name"], section["title"], names),
                    }
                    for one in section.get("tables", [])
                    if one["name"] in read
                ],
                "figures": [
                    pictures.figure(
                        name,
                        caption,
                        root / "figures",
                        drawn.get(name),
                        said.get(name) or sentence_of(name, rows, about.get(name, [])),
                    )
                    | {"rank": rank}
                    for name, caption, rank in files[section["id"]]
                ],
                "rests": template_data.figures_rest_on(section, rests),
            }
        )
    kinds = rows.get("kinds", tidy.none())
    keys = backbones.named(plan.values(), kinds)
    page = render(
        Path(templates),
        study=config["study"], sections=pages, studied=studied(rows, Facts(**facts)),
        columns=backbones.columns(keys), keys=keys, names=names,
        in_words=backbones.in_words, anchor=backbones.anchor,
        matrix=backbones.matrix(keys, pages, lines, kinds),
        backbones=backbones.sections_of(
            keys, pages, lines, rows, list(printed.values()), _provenance_rows(paths)
        ),
        references=references(),
        on_paper=template_data.on_paper(pages),
        answer=probe_tables.HEADER,
        count=register_counts.HEADER, planted=KIND_HEADER,
        trusted=_trusted(lines), judged=phantoms_judged(lines),
        criteria=config["report"]["verdicts"], error=criteria.error,
        confidence=config["statistics"]["confidence"],
        coverage=_coverage(read), calibration=calibration,
        explorer=template_data.explorer(explorers),
        accounting=accounting, carbon=template_data.carbon(Path(paths.table("carbon_paper"))),
        compared={"head": beside.HEADER, "rows": beside.lines(compared)},
        deviations=template_data.cells(Path(paths.table("deviations"))),
        status=text.section(template_data.with_this_page(summary.look(config["study"], root))),
        items=by_source(Path(paths.table("coverage")), root, set(drawn)),
        provenance=_provenance(paths), skipped=template_data.skipped(samples), code=code,
        config=yaml.safe_dump(config, sort_keys=False), measured=rests[""],
        charts=(templates / CHARTS).read_text() if explorers else "",
    )  # fmt: skip
    write_text(output, page)
    log.info("%s: %.1f MB", output, len(page.encode()) / 1e6)


def render(templates, **what):
    """The page; everything that is not marked as ours is escaped."""
    loader = jinja2.FileSystemLoader(templates)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    known = what["references"]
    environment.filters["cited"] = lambda text: linked(text, known)
    environment.filters["shown"] = lambda text: shown(text, known)
    environment.filters["words"] = words
    environment.filters["number"] = number_text
    environment.filters["words_in"] = in_words
    environment.filters["heading"] = heading
    environment.filters["script"] = lambda text: jinja2.utils.markupsafe.Markup(
        text.replace("</script", "<\\/script")
    )
    environment.globals["include_file"] = lambda name: jinja2.utils.markupsafe.Markup(
        loader.get_source(environment, name)[0]
    )
    return environment.get_template("report.html").render(**what)


def _anchor(name, title, names):
    """Where the rows of a table stand: at the first place that shows some of them, noted here."""
    if name in names:
        return ""
    names[name] = title.partition(":")[0]
    return f"rows-{name}"


def _page(root, name):
    """Address of another page of the study, where it is there."""
    return f"../{name}" if name and (root / name).exists() else ""


def judge_all(criteria, read, facts, statistics):
    """The lines of every statement, by its id."""
    tables = {name: table.rows for name, table in read.items()}
    planned = {name: table.planned for name, table in read.items()}
    study = Study(criteria, Evidence.of_tables(tables, statistics), planned, facts)
    return {criterion.id: judge(study, criterion) for criterion in criteria}


def _trusted(lines):
    """Whether the phantoms passed: yes, no, undecided, or not run. Any wrong answer is a no."""
    of = {name: {x.answer for x in own if x.scope == INSTRUMENT} for name, own in lines.items()}
    if any(CONTRADICTED in answers for answers in of.values()):
        return "no"
    answers = of.get("controls", set())
    if UNDECIDED in answers:
        return "undecided"
    return "yes" if answers == {SUPPORTED} else "not run" if answers == {NOT_RUN} else "no"


def _errors(paths):
    """How often each criterion errs, in words; none where it is not simulated yet."""
    path = Path(paths.table("verdict_errors"))
    return simulation.in_words(pd.read_csv(path)) if path.exists() else {}


def _coverage(read):
    counts = {name: (len(r.planned) - len(r.missing), len(r.planned)) for name, r in read.items()}
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    return {"tables": counts, "there": total[0], "planned": total[1]}


def _counts(paths):
    """Lines of the table of registers by their number; none where nothing is trained."""
    path = Path(paths.table("register_counts"))
    return register_counts.lines(register_counts.read(path)) if path.exists() else []


def _calibration(paths, read, decides):
    """How often the instrument errs, by form, the long one first."""
    path = Path(paths.table("calibration"))
    counts = read_counts(path) if path.exists() else pd.DataFrame({"form": []})
    images = int(read["claim1"].rows["n"].max()) if len(read["claim1"].rows) else 0
    return [
        {
            "form": form, "headline": headline(part), "seen": seen_with(part, images),
            "stale": bool((part["code"] != decides).any()), "summaries": summaries(part),
        }
        for form, part in counts.groupby("form", sort=True)
    ]  # fmt: skip


def _errors_of_kinds(counts, decides):
    """How often the answers of the kinds err, and whether other code than ours was counted."""
    table = read_counts(counts)
    return {"table": errors_in_words.kinds(table), "stale": bool((table["code"] != decides).any())}


def _accounting(paths):
    """Sums over jobs, by claim and by rule, and how attempts ended."""
    path = Path(paths.table("accounting"))
    if not path.exists():
        return {}
    jobs = pd.read_csv(path)
    summary = {"attempts": len(jobs), "ended": jobs["state"].value_counts().to_dict()}
    for key in ("claim", "rule"):
        sums = jobs.groupby(key, sort=True)[SUMS].sum()
        counts = jobs[key].value_counts()
        summary[key] = [(name, int(counts[name]), *row) for name, *row in sums.itertuples()]
    return summary | {"all": [float(jobs[name].sum()) for name in SUMS]}


def _provenance(paths):
    """Backbones, weights and images behind each kind of table."""
    return [
        (
            n,
            template_data.without_same(
                template_data.with_commas(template_data.cells(Path(paths.table(n))))
            ),
        )
        for n in PROVENANCE
    ]


def _provenance_rows(paths):
    """What weights each backbone was measured with, cells as text."""
    files = [Path(paths.table(name)) for name in PROVENANCE]
    read = [pd.read_csv(path, dtype=str).fillna("") for path in files if path.exists()]
    read = [table for table in read if set(tidy.BACKBONE_COLUMNS) <= set(table.columns)]
    return pd.concat(read).fillna("") if read else pd.DataFrame()


def _rests_on(paths, plan):
    """By table, and under an empty name for all, by what its measurements were made."""
    said, read = {}, {}
    for name in PROVENANCE:
        if (file := Path(paths.table(name))).exists():
            read[name] = pd.read_csv(file, dtype=str)
            said[name] = sentence(read[name])
    by_table = {name: said.get((more or PROVENANCE)[0], "") for name, (_, _, *more) in plan.items()}
    return by_table | {"": sentence(pd.concat(read.values())) if read else ""}


if "snakemake" in globals():
    i, p, o = snakemake.input, snakemake.params, snakemake.output
    out = Path(o.page)
    with job(snakemake.log[0], "report"):
        main(
            results=out.parents[1], config=p.config, plan=p.plan, facts=p.facts,
            figures_mb=p.figures_mb, published=i.published, files=p.figures,
            explorers=i.explorer, samples=i.samples, templates=Path(i.templates[0]).parent,
            output=out, tables=dict(o.items()), decides=p.decides, code=p.code,
            kinds_counts=i.kinds_counts, kinds_decide=p.kinds_decide, about=p.about,
        )  # fmt: skip
