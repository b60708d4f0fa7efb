"""A config with a mistake is answered in a sentence: file, line, key, what is, what may be."""

import re
from pathlib import Path

import check
import pytest
import yaml

from tokenscope.config_file.answers import Answers
from tokenscope.config_file.lines import Source
from tokenscope.cost.carbon import Site
from tokenscope.errors import StudyError
from tokenscope.study.study import Study

ROOT = Path(__file__).parents[2]
GOOD = """\
study: mine
results: results/mine
device: auto
backbone_tables: [config/backbones.csv]
backbones: [augreg/tiny/r0]
analyse: [tinyval]
weights:
  download: false
datasets:
  tinyval:
    type: imagefolder
    path: images
    labels: folders
    images: 500
    seed: 0
probes:
  dataset: tinyval
  cutoffs: tinyval
  backbones: [augreg/tiny/r0]
threads: {decode: 2}
"""


def answer(folder, text):
    """What a person reads."""
    file = folder / "mine.yaml"
    file.write_text(text)
    answers = Answers([file])
    config = yaml.safe_load(text)
    with pytest.raises(StudyError) as refusal:
        answers.study(config, lambda c: (Study(c), Site.of(c["carbon"])))
    return [
        line.replace(f"{folder}/", "") for line in answers.located(str(refusal.value)).split("\n")
    ]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_good_config_has_its_defaults(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    config = yaml.safe_load(GOOD)
    study = Answers([tmp_path / "mine.yaml"]).study(config, Study)
    assert [row.key for row in study.backbones] == ["augreg/tiny/r0"]
    assert config["gallery"]["images"] == 6 and config["weights"]["cache"] == "results/weights"


# The typos of a first hour (the first ones were made by a real newcomer), one sentence each.
TYPOS = [
    ("analyse: [tinyval]", "analyse: [tinyva]", 6,
     "analyse: 'tinyva' is no data set of this study, only: tinyval; nearest: tinyval"),
    ("backbones: [augreg/tiny/r0]\nanalyse", "backbones: [augrek/tiny/r0]\nanalyse", 5,
     "backbones: 'augrek/tiny/r0' matches no row of .* Families there are: .*; nearest: augreg"),
    ("config/backbones.csv", "config/backbone.csv", 4,
     "backbone_tables: config/backbone.csv does not exist"),
    ("analyse:", "analyze:", 6, "analyze: is no key of a study; nearest: analyse"),
    ("threads: {decode: 2}", "threads: {decode: 2, probes: 2}", 20,
     "threads: probes: is no key of threads; nearest: probe"),
    ("type: imagefolder", "type: image_folder", 11,
     "datasets: tinyval: type: is the text 'image_folder'; it must be scenes, imagefolder, "
     "webdataset or parquet; nearest: imagefolder"),
    ("images: 500", "images: five hundred", 14,
     "datasets: tinyval: images: is the text 'five hundred'; it must be all or a whole number of 1 "
     "or more"),
    ("images: 500", "image: 500", 14,
     r"datasets: tinyval: image: is no key of datasets: tinyval \(of type imagefolder\); "
     "nearest: images"),
    ("seed: 0", 'seed: "0"', 15,
     "datasets: tinyval: seed: is the text '0'; it must be a whole number of 0 or more: leave out "
     "the quotation marks"),
    ("backbones: [augreg/tiny/r0]\nanalyse", "backbones: [myvit/tiny]\nanalyse", 5,
     "backbones: item 1: is the text 'myvit/tiny'; it must be family/size/registers, such as .*"),
    ("[config/backbones.csv]", "config/backbones.csv", 4,
     r"backbone_tables: is the text 'config/backbones.csv'; it must be a list, each text: write "
     r"\[config/backbones.csv\]"),
    ("study: mine\n", "", None, "study: is missing"),
    # Held out: of the same kind, not among those tried.
    ("device: auto", "device: gpu", 3, "device: is the text 'gpu'; it must be auto, cuda or cpu"),
    ("device: auto", "device: CPU", 3, "device: .* nearest: cpu"),
    ("download: false", "download: no thanks", 8,
     "weights: download: is the text 'no thanks'; it must be true or false"),
    ("  download: false", "  donwload: false", 8,
     "weights: donwload: is no key of weights; nearest: download"),
    ("    path: images\n", "", 10, "datasets: tinyval: path: is missing"),
    ("    type: imagefolder\n", "", 10, "datasets: tinyval: type: is missing; it is scenes, .*"),
    ("    path: images", "    path:", 12, "datasets: tinyval: path: has no value; it must be text"),
    ("images: 500", "images: 0", 14, "datasets: tinyval: images: is 0; it must be all or a .*"),
    ("images: 500", "images: -3", 14, "datasets: tinyval: images: is -3; .*"),
    ("images: 500", "images: 1.5", 14, "datasets: tinyval: images: is 1.5; .*"),
    ("analyse: [tinyval]", "analyse: tinyval", 6,
     r"analyse: is the text 'tinyval'; it must be a list, each text: write \[tinyval\]"),
    ("analyse: [tinyval]", "analyse: []", 6, "analyse: is empty; it must be a list, .*"),
    ("  cutoffs: tinyval", "  cutofs: tinyval", 18,
     "probes: cutofs: is no key of probes; nearest: cutoffs"),
    ("  cutoffs: tinyval", "  cutoffs: tinival", 18,
     "probes: cutoffs: 'tinival' is not one of: tinyval; nearest: tinyval"),
    ("  backbones: [augreg/tiny/r0]\nt", "  backbones: [augreg/tiny/r4]\nt", 19,
     "probes: backbones: 'augreg/tiny/r4' is none of this study's backbones: augreg/tiny/r0.*"),
    ("threads: {decode: 2}", "threads: {decode: two}", 20,
     "threads: decode: is the text 'two'; it must be a whole number of 1 or more"),
    ("threads: {decode: 2}", "outliers: {min_share: 1e-3}", 20,
     r"outliers: min_share: is the text '1e-3'; it must be a number from 0 to 100 \(YAML reads "
     r"1e-3 as text: write 0.001\)"),
    ("threads: {decode: 2}", "outliers: {percentil: 98}", 20,
     "outliers: percentil: is no key of outliers; nearest: percentile"),
    ("threads: {decode: 2}", "statistics: {confidence: 95}", 20,
     "statistics: confidence: is 95; it must be a number between 0.5 and 1: write 0.95"),
    ("threads: {decode: 2}", "gallery:\nimages: 4", 20, "gallery: has no value; .*"),
    ("threads: {decode: 2}", "path: images", 20,
     r"path: is no key of a study but of datasets: <name>.*: is the indentation right\?"),
    ("threads: {decode: 2}", "testtime: {backbones: [augreg/tiny/r0], dataset: tiny}", 20,
     "testtime: dataset: 'tiny' is not among analyse.*"),
    ("threads: {decode: 2}", "carbon: {site: snelius}", 20, "carbon: site: 'snelius' .*"),
    ("study: mine", "study: my study", 1, "study: is the text 'my study'; it must be a word of .*"),
    ("results: results/mine", "result: results/mine", 2,
     "result: is no key of a study; nearest: results"),
    ("labels: folders", "labels: folders\n    clases: imagenet-1k", 14,
     "datasets: tinyval: clases: is no key of .*; nearest: classes"),
    # A stranger's, tried later.
    ("threads: {decode: 2}", "heads: {test: tinyval, released: {tabel: x.csv}}", 20,
     "heads: released: tabel: is no key of heads: released; nearest: table"),
    ("images: 500", "images: [500]", 14,
     r"datasets: tinyval: images: is the list \[500\]; it must be all or a whole .*"),
    ("images: 500", "images: 5,000", 14, "datasets: .*; it must be all or .* or more: write 5000"),
    ("weights:\n  download: false", "weights: none", 7,
     r"weights: is the text 'none'; it must be a section \(cache, folder, download\)"),
    ("download: false", "download: 'False'", 8,
     "weights: download: is the text 'False'; it must be true or false: leave out the .*"),
    ("threads: {decode: 2}", "threads: [decode, 2]", 20,
     r"threads: is the list \[decode, 2\]; it must be a section \(render, index, .*\)"),
    ("threads: {decode: 2}", "outliers: {min_share: 0.1%}", 20,
     "outliers: min_share: is the text '0.1%'; it must be a number from 0 to 100: write 0.1"),
    ("analyse: [tinyval]", "analyse: {tinyval: true}", 6,
     "analyse: is a section of keys; it must be a list, each text"),
    ("analyse: [tinyval]", "analyse: [tinyval, tinyval]", 6, "analyse: names something twice: .*"),
    ("analyse: [tinyval]", "analyse: [tinyval]\nmore: {type: imagefolder, path: images}", 7,
     "more: is no key of a study but fits one of datasets: is the indentation right\\?"),
    ("[augreg/tiny/r0]\nanalyse", "[augreg/tinny/r0]\nanalyse", 5,
     "backbones: 'augreg/tinny/r0' matches no row of .* Sizes of augreg: .*; nearest: tiny"),
    ("backbones: [augreg/tiny/r0]\nanalyse", "backbones: []\nanalyse", 5,
     "backbones: is empty; it must be a list, each family/size/registers, .*"),
    ("study: mine", "study: 2024", 1,
     'study: is 2024; it must be a word .* digits, _ and -: write "2024", in quotation marks'),
    ("device: auto", "Device: auto", 3, "Device: is no key of a study; nearest: device"),
    ("seed: 0", "seed: 2024-01-01", 15, "datasets: tinyval: seed: is 2024-01-01; it must be .*"),
    ("labels: folders", "labels: false", 13,
     "datasets: tinyval: labels: is false; it must be folders, none or a file of labels"),
    ("labels: folders", "labels: folders\n    classes: ImageNet1k", 14,
     "datasets: tinyval: classes: 'ImageNet1k' would be a label space of its own, .* imagenet-1k"),
    ("  cutoffs: tinyval", "  cutoffs: tinyval\n  split: [0.8, 0.3, 0.1]", 19,
     r"probes: split: \[0.8, 0.3, 0.1\] does not add up to 1"),
    ("  cutoffs: tinyval", "  cutoffs: tinyval\n  sensitivity: {penalty: [1]}", 19,
     "probes: sensitivity: penalty: is no key of probes: sensitivity; nearest: penalties"),
    ("threads: {decode: 2}", "testtime: {backbones: [augreg/tiny/r0], dataset: tinyval, "
     "registers: 4}", 20, "testtime: registers: is 4; it must be a list, .*: write \\[4\\]"),
    ("threads: {decode: 2}", "discovery: {sets: {voc07: {layout: VOC, path: voc}}}", 20,
     "discovery: sets: voc07: layout: is the text 'VOC'; it must be voc, .*; nearest: voc"),
    ("threads: {decode: 2}", "dense: {segmentation: {crop: 512}}", 20,
     "dense: segmentation: crop: is 512; it must be a list of 2 items, each a whole .*"),
    ("threads: {decode: 2}", "overhead: {backbones: [augreg/tiny/r4]}", 20,
     "overhead: backbones: 'augreg/tiny/r4' matches no row of .* counts of augreg/tiny: r0"),
    ("threads: {decode: 2}", "phantoms: {tinyval: ['control/*/r0-cornerss']}", 20,
     "phantoms: tinyval: 'control/.*/r0-cornerss' matches no row of .*; nearest: r0-corners"),
    ("threads: {decode: 2}", "training: {more: {recipe: photograph-finetune, from: augreg/tiny/r0, "
     "registers: [4]}}", 20, "training: more: recipe: 'photograph-finetune' is none of .*; "
     "nearest: photographs-finetune"),
    ("threads: {decode: 2}", "figures: {fig8: ['*/*/*']}", 20,
     "figures: fig8: is no key of figures; nearest: fig7"),
    ("threads: {decode: 2}", "kinds: true", 20,
     r"kinds: is true; it must be a section \(.*\): write {} for its defaults"),
    # Signs of word processors and chats, lists and sections in each other's place, units.
    ("analyse: [tinyval]", "analyse:\n  \u2013 tinyval", 6,
     "analyse: .*; it must be a list, .*: write - tinyval, with a hyphen and a space; its '\u2013' "
     r"is no plain sign \(en dash\): type the plain one"),
    ("analyse: [tinyval]", "analyse:\n  -tinyval", 6,
     "analyse: is the text '-tinyval'; .*: write - tinyval, with a hyphen and a space"),
    ("study: mine", "study: \u201cmine\u201d", 1,
     r"study: .* its '\u201c' is no plain sign \(left double .*"),
    ("device: auto", "dev\u200bice: auto", 3,
     "dev\u200bice: is no key of a study; nearest: device; after 'v' stands what nobody sees .*"),
    ("analyse:", "\u0430nalyse:", 6,
     r"\u0430nalyse: is no key of a study; nearest: analyse; its .* \(cyrillic .*"),
    ("labels: folders", "labels: folders\n    classes: imagenet\u20131k", 14,
     "datasets: tinyval: classes: .* are imagenet-1k; its '\u2013' is no plain sign .*"),
    ("images: 500", "images: 5e2", 14,
     r"datasets: tinyval: images: is the text '5e2'; .* \(YAML reads 5e2 as text: write 500\)"),
    ("images: 500", "images: 500 images", 14, "datasets: .*; it must be all or .*: write 500"),
    ("images: 500", "images: All", 14, "datasets: .*; it must be all or .*; nearest: all"),
    ("threads: {decode: 2}", "max_decoded_gb: 50GB", 20,
     "max_decoded_gb: is the text '50GB'; it must be a number of 0 or more: write 50"),
    ("threads: {decode: 2}", "outliers: {percentile: 0.98}", 20,
     "outliers: percentile: is 0.98; it must be a number between 50 and 100: write 98"),
    ("seed: 0", "seed: 0# first", 15, "datasets: .* is the text '0# first'; .*: write 0"),
    ("    type: imagefolder\n    path: images\n", "    imagefolder:\n      path: images\n", 10,
     "datasets: tinyval: type: is missing; .*: write type: imagefolder, and its keys beside it"),
    ("weights:\n  download: false", "weights.download: false", 7,
     "weights.download: is no key of a study: keys lie within each other, write weights: "
     "{download: ...}"),
    ("weights:\n  download: false", "weights:\n  - download: false", 7,
     r"weights: is the list \[...\]; it must be a section \(.*\): its keys without hyphens"),
    ("datasets:\n  tinyval:\n    type", "datasets:\n  - name: tinyval\n    type", 9,
     r"datasets: is the list \[...\]; it must be a section of names, .*: its keys without hyphens"),
    ("[augreg/tiny/r0]\nanalyse", "[[augreg/tiny/r0]]\nanalyse", 5,
     r"backbones: item 1: is the list \[augreg/tiny/r0\]; .*: write augreg/tiny/r0, without .*"),
    ("threads: {decode: 2}", "heads: {test: [tinyval]}", 20,
     r"heads: test: is the list \[tinyval\]; it must be text: write tinyval, without brackets"),
    ("threads: {decode: 2}", "heads: {test: tinyvl}", 20,
     "heads: test: 'tinyvl' is no data set of this study, only: tinyval; nearest: tinyval"),
    ("threads: {decode: 2}", "heads: {test: tinyval, views: nativ}", 20,
     r"heads: views: is the text 'nativ'; it must be a list, .*: write \[native\]"),
    ("threads: {decode: 2}", "training: {recipe: photographs-finetune}", 20,
     r"training: recipe: .* \('recipe' is a key of training: <name>: is the indentation right\?\)"),
    ("threads: {decode: 2}", "discovery: {sets: {a: {layout: table, path: x, boxs: y.csv}}}", 20,
     r"discovery: sets: a: boxs: is no key of .* \(of layout table\); nearest: boxes"),
    ("threads: {decode: 2}", "diagnose: {dataset: tinyvl, backbones: [augreg/tiny/r0]}", 20,
     "diagnose: dataset: 'tinyvl' is not among analyse: tinyval; nearest: tinyval"),
    ("threads: {decode: 2}", "recipes: config/recipe", 20,
     "recipes: there is no 'config/recipe'; nearest: config/recipes"),
    ("threads: {decode: 2}", "report: {verdicts: config/verdict.yaml}", 20,
     "report: verdicts: there is no 'config/verdict.yaml'; nearest: config/verdicts.yaml"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"), TYPOS, ids=[t[1] or "gone" for t in TYPOS]
)
def test_a_typo_gets_one_sentence(tmp_path, old, new, line, sentence):
    assert old in GOOD
    said = answer(tmp_path, GOOD.replace(old, new, 1))
    where = "mine.yaml: " if line is None else f"mine.yaml, line {line}: "
    assert re.fullmatch(re.escape(where) + sentence, said[0]), said
    # An emptied section also leaves its keys behind; everything else is one mistake.
    assert len(said) == (2 if new.startswith("gallery:\n") else 1)


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(tmp_path):
    text = GOOD.replace("device", "devise").replace("seed: 0", 'seed: "0"')
    text = text.replace("[tinyval]", "[tinival]").replace("decode", "decoed")
    said = answer(tmp_path, text)
    assert [int(re.search(r"line (\d+)", line)[1]) for line in said] == [3, 6, 15, 20]


def test_a_key_of_the_command_line_has_no_line(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    answers = Answers([tmp_path / "mine.yaml"])
    config = yaml.safe_load(GOOD) | {"gallery": {"images": 0}}
    (said,) = answers.located("\n".join(answers.mistakes(config))).split("\n")
    assert "mine.yaml and --config: gallery: images: is 0" in said


def test_numbers_of_the_command_line_are_numbers(tmp_path):
    """Snakemake reads what is nested in --config as text."""
    (tmp_path / "mine.yaml").write_text(GOOD)
    config = yaml.safe_load(GOOD) | {"outliers": {"min_share": "0.2"}}
    config["datasets"]["tinyval"] |= {"images": "5000", "path": "/data/1"}
    config["redundancy"] = {"similarities": ["0.9", "0.7"]}
    study = Answers([tmp_path / "mine.yaml"]).study(config, Study)
    assert study.planned_images("tinyval") == 5000
    assert config["outliers"]["min_share"] == 0.2
    assert config["redundancy"]["similarities"] == [0.9, 0.7]


def test_two_config_files_are_refused(tmp_path):
    (said,) = Answers(["a.yaml", "b.yaml"]).mistakes({})
    assert "one config file makes a study, given are a.yaml, b.yaml" in said


BROKEN = [
    ("    path: images", "\tpath: images", 12, "a tab"),
    ("    path: images", "      path: images", 12, "indentation"),
    ("    path: images", "   path: images", 12, "indentation"),
    ("    path: images", "    path images", 12, "colon"),
    ("analyse: [tinyval]", "analyse: [tinyval", 6, "bracket"),
    ("threads: {decode: 2}", "threads: {decode: 2", None, "brace"),
    ("study: mine", 'study: "mine', None, "quotation mark"),
    ("[augreg/tiny/r0]\nanalyse", "[*/tiny/r0]\nanalyse", 5, "quotation marks"),
    ("study: mine", "study mine", 1, "is a colon (with a space after it) missing"),
    ("study: mine", "study:mine", 1, "a space is missing after the colon"),
    ("    path: images", "\u00a0   path: images", 12, "looks like a space"),
    ("threads: {decode: 2}", "---\nstudy: other", 20, "a second document"),
    ("[config/backbones.csv]", "[config/backbones.csv,, x]", 4, "a comma too many"),
    ("study: mine", "study\uff1amine", 1, "(fullwidth colon)"),
    ("path: images", 'path: "C:\\data"', 12, "within double quotation marks"),
    ("download: false", "download: false: true", 8, "a key within a key stands on the next line"),
    ("analyse: [tinyval]", "analyse:\n  * tinyval", 7, "items of a list begin with a hyphen"),
    ("device: auto", "@device: auto", 3, "put it in quotation marks"),
    ("threads: {decode: 2}", "threads: {decode: 2} 3", 20, "what stands after the bracket"),
]
READ_OTHERWISE = [
    ("device: auto", "device: auto\ndevice: cpu", 4, "'device' is there twice, first in line 3"),
    ("images: 500", "images: 0500", 14, "YAML reads 0500 as 320"),
    ("images: 500", "images: 1:30", 14, "YAML reads 1:30 as 90"),
    ("seed: 0", "seed: .inf", 15, "the number .inf is not finite"),
    ("threads: {decode: 2}", "on: 2", 20, "the key 'on' is no word to YAML"),
    ("threads: {decode: 2}", "? [a]\n: 2", 20, "unhashable"),
    ("study: mine", "study: !!python/name:os.system mine", 1, "! has a meaning in YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "word"), BROKEN, ids=[b[1] for b in BROKEN])
def test_what_is_no_yaml_is_said_with_its_line(tmp_path, old, new, line, word):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(StudyError) as refusal:
        Source(file)
    said = str(refusal.value)
    assert "\n" not in said and word in said
    number = int(re.search(r"mine.yaml, line (\d+): ", said)[1])
    assert line is None or number == line, said


@pytest.mark.parametrize(("old", "new", "line", "words"), READ_OTHERWISE)
def test_what_yaml_reads_otherwise_than_people_is_refused(tmp_path, capsys, old, new, line, words):
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace(old, new, 1))
    assert check.main([str(file), "--syntax"]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and f"mine.yaml, line {line}: " in said and words in said


@pytest.mark.parametrize("made", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n")])
def test_files_of_other_systems_are_read(tmp_path, made):
    """A byte-order mark, and lines that end as on Windows."""
    said = answer(tmp_path, made(GOOD.replace("seed: 0", "seed: -1")))
    assert len(said) == 1 and said[0].startswith(
        "mine.yaml, line 15: datasets: tinyval: seed: is -1"
    )


def test_no_file(tmp_path):
    with pytest.raises(StudyError, match="does not exist"):
        Source(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes("study: ä".encode("latin-1"))
    with pytest.raises(StudyError, match="is no text in UTF-8"):
        Source(tmp_path / "latin.yaml")
