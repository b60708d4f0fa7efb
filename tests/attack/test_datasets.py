"""Attempts on how data sets lie on disk: names, labels, lists, tars, parquet files, links."""

import csv
import io
import json
import os
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tokenscope.datasets.label_space import class_number
from tokenscope.datasets.manifest import index
from tokenscope.datasets.sample import sample
from tokenscope.images.location import locations
from tokenscope.images.preprocess import open_rgb
from tokenscope.images.sample_rows import read_rows

FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def colour(number):
    """A PNG of one colour, by which its pixels are known again."""
    out = io.BytesIO()
    Image.new("RGB", (9, 9), (number, 2 * number, 3)).save(out, "PNG")
    return out.getvalue()


def folder_of(tmp_path, *names):
    for i, name in enumerate(names):
        file = tmp_path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(colour(i))
    return {"type": "imagefolder", "path": str(tmp_path / "set")}


# Links and names in a tree of class folders.
TREES = {
    "a link to the parent": lambda s: (s / "a" / "up").symlink_to(s),
    "a link to itself": lambda s: (s / "a" / "me").symlink_to(s / "a"),
    "two links in a circle": lambda s: (
        (s / "a" / "b").symlink_to(s / "b"), (s / "b" / "a").symlink_to(s / "a"),
    ),
    "a class by two names": lambda s: (s / "c").symlink_to(s / "a"),
    "a tower of links": lambda s: [
        (
            (s / f"d{i}").mkdir(),
            (s / f"d{i}" / "x").symlink_to(s / f"d{i + 1}"),
            (s / f"d{i}" / "y").symlink_to(s / f"d{i + 1}"),
        )
        for i in range(25)
    ],
    "a name that is no UTF-8": lambda s: os.rename(
        s / "a" / "0.png", bytes(s / "a") + b"/\xff.png"
    ),
    "a folder that is no UTF-8": lambda s: os.rename(s / "a", bytes(s) + b"/\xfe"),
    "a line break in a name": lambda s: os.rename(s / "a" / "0.png", s / "a" / "0\n.png"),
    "a carriage return": lambda s: os.rename(s / "a" / "0.png", s / "a" / "0\r.png"),
    "an escape": lambda s: os.rename(s / "a" / "0.png", s / "a" / "\x1b[2J.png"),
    "a loose image": lambda s: (s / "loose.png").write_bytes(colour(9)),
    "a pipe for the folder": lambda s: (s.rename(s.with_name("t")), os.mkfifo(s)),
    "no folder": lambda s: s.rename(s.with_name("t")),
    "no image": lambda s: [f.unlink() for f in s.rglob("*.png")],
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_trees(tmp_path, attempt, name):
    source = folder_of(tmp_path, "a/0.png", "b/1.png") | {"labels": "folders"}
    TREES[name](tmp_path / "set")
    attempt(lambda: index(source))


LISTS = {
    "a column twice": "file,label,label\na/0.png,0,1\nb/1.png,1,0\n",
    "the file twice": "file,label\na/0.png,0\na/0.png,1\n",
    "the file twice, otherwise written": "file,label\na/0.png,0\n./a//0.png,1\n",
    "the file twice, by a detour": "file,label\na/0.png,0\nb/../a/0.png,1\n",
    "a file above": "file,label\n../x.png,0\n",
    "a file elsewhere": "file,label\n/etc/passwd,0\n",
    "no file": "file,label\n,0\n",
    "the folder": "file,label\n.,0\n",
    "no label": "file,label\na/0.png,\n",
    "a fraction": "file,label\na/0.png,1.5\nb/1.png,2.5\n",
    "whole, as fractions": "file,label\na/0.png,1.0\nb/1.png,2.0\n",
    "minus": "file,label\na/0.png,-2\nb/1.png,1\n",
    "minus one": "file,label\na/0.png,-1\nb/1.png,1\n",
    "plus": "file,label\na/0.png,+1\nb/1.png,2\n",
    "other digits": "file,label\na/0.png,\u0663\nb/1.png,1\n",
    "a square": "file,label\na/0.png,\u00b2\nb/1.png,1\n",
    "an exponent": "file,label\na/0.png,1e3\nb/1.png,1\n",
    "underscores": "file,label\na/0.png,1_0\nb/1.png,1\n",
    "too large": "file,label\na/0.png,99999999999\nb/1.png,1\n",
    "larger than any": f"file,label\na/0.png,{'9' * 5000}\nb/1.png,1\n",
    "names and numbers": "file,label\na/0.png,cat\nb/1.png,1\n",
    "more cells": "file,label\na/0.png,0,1,2\n",
    "fewer cells": "file,label\na/0.png\n",
    "no header": "a/0.png,0\nb/1.png,1\n",
    "nothing": "",
    "a header alone": "file,label\n",
    "a NUL": "file,label\na/\0.png,0\n",
    "a cell without end": 'file,label\n"' + "x" * 200_000 + '",0\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_lists(tmp_path, attempt, name):
    source = folder_of(tmp_path, "a/0.png", "b/1.png")
    (tmp_path / "list.csv").write_text(LISTS[name])
    attempt(lambda: index(source | {"labels": str(tmp_path / "list.csv")}))


RAW_LISTS = {"no UTF-8": b"file,label\na/\xff.png,0\n", "UTF-16": "file,label\n".encode("utf-16")}


@pytest.mark.parametrize("name", RAW_LISTS)
def test_lists_of_bytes(tmp_path, attempt, name):
    source = folder_of(tmp_path, "a/0.png")
    (tmp_path / "list.csv").write_bytes(RAW_LISTS[name])
    attempt(lambda: index(source | {"labels": str(tmp_path / "list.csv")}))


def test_a_list_with_a_byte_order_mark(tmp_path, attempt):
    source = folder_of(tmp_path, "a/0.png", "b/1.png")
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbffile,label\na/0.png,1\nb/1.png,0\n")
    attempt(lambda: index(source | {"labels": str(tmp_path / "list.csv")}),
            lambda table: table["label"].tolist() == [1, 0])  # fmt: skip


def test_one_column_for_two(tmp_path, attempt):
    source = folder_of(tmp_path, "a/0.png", "b/1.png")
    (tmp_path / "list.csv").write_text("file,label\na/0.png,0\nb/1.png,1\n")
    columns = {"file": "file", "label": "file"}
    attempt(lambda: index(source | {"labels": str(tmp_path / "list.csv"), "columns": columns}))


VAL = {
    "one name in two folders, by name": "0.png cat\n1.png dog\n",
    "a line twice": "a/0.png cat\nb/0.png dog\na/0.png dog\n",
    "a fraction": "a/0.png 1.5\nb/0.png 2.5\n",
    "minus": "a/0.png -1\nb/0.png 1\n",
    "an image without a line": "a/0.png cat\n",
    "three words": "a/0.png cat dog\n",
    "no UTF-8": b"a/0.png \xff\n",
    "nothing": "\n",
}


@pytest.mark.parametrize("name", VAL)
def test_label_files(tmp_path, attempt, name):
    source = folder_of(tmp_path, "a/0.png", "b/0.png")
    content = VAL[name]
    (tmp_path / "val.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    attempt(lambda: index(source | {"labels": str(tmp_path / "val.txt")}))


def test_label_files_go_by_path(tmp_path, attempt):
    source = folder_of(tmp_path, "a/0.png", "b/0.png")
    (tmp_path / "val.txt").write_text("b/0.png dog\na/0.png cat\n")
    attempt(
        lambda: index(source | {"labels": str(tmp_path / "val.txt")}),
        lambda table: (
            dict(zip(table["path"], table["label_name"], strict=True))
            == {"a/0.png": "cat", "b/0.png": "dog"}
        ),
    )


def add(tar, name, content, **facts):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in facts.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


def shard(file, *members):
    with tarfile.open(file, "w") as tar:
        for name, content, *facts in members:
            add(tar, name, content, **(facts[0] if facts else {}))
    return file


GOOD = [("0.png", colour(0)), ("0.cls", b"0"), ("1.png", colour(1)), ("1.cls", b"1")]
TARS = {
    "a fraction": [("0.png", colour(0)), ("0.cls", b"1.5")],
    "minus two": [("0.png", colour(0)), ("0.cls", b"-2")],
    "no number": [("0.png", colour(0)), ("0.cls", b"")],
    "no UTF-8": [("0.png", colour(0)), ("0.cls", b"\xff\xfe")],
    "too large": [("0.png", colour(0)), ("0.cls", b"99999999999")],
    "names and numbers": [*GOOD, ("2.png", colour(2)), ("2.cls", b"cat")],
    "JSON cut off": [("0.png", colour(0)), ("0.json", b'{"label": ')],
    "JSON that is a list": [("0.png", colour(0)), ("0.json", b"[1]")],
    "JSON without a label": [("0.png", colour(0)), ("0.json", b"{}")],
    "JSON of a fraction": [("0.png", colour(0)), ("0.json", b'{"label": 1.5}')],
    "JSON of a truth": [("0.png", colour(0)), ("0.json", b'{"label": true}')],
    "JSON of no number": [("0.png", colour(0)), ("0.json", b'{"label": NaN}')],
    "deep JSON": [("0.png", colour(0)), ("0.json", b"[" * 100_000)],
    "JSON against .cls": [*GOOD, ("1.json", b'{"label": 0}')],
    "two images of a key": [*GOOD, ("1.jpg", colour(3))],
    "a key twice": [*GOOD, ("1.png", colour(3))],
    "a label without an image": [*GOOD, ("2.cls", b"1")],
    "a link for an image": [*GOOD, ("2.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/x"})],
    "a hard link": [*GOOD, ("2.png", b"", {"type": tarfile.LNKTYPE, "linkname": "0.png"})],
    "a device": [*GOOD, ("2.png", b"", {"type": tarfile.CHRTYPE})],
    "a pipe": [*GOOD, ("2.png", b"", {"type": tarfile.FIFOTYPE})],
    "a line break in a name": [("0\n.png", colour(0)), ("0\n.cls", b"0")],
    "no member": [],
}


@pytest.mark.parametrize("name", TARS)
def test_tars(tmp_path, attempt, name):
    shard(tmp_path / "0.tar", *TARS[name])
    attempt(lambda: index({"type": "webdataset", "path": str(tmp_path)}, 1))


def test_a_tar_that_would_write_outside_writes_nothing(tmp_path, attempt):
    (tmp_path / "in").mkdir()
    members = [("../out.png", colour(0)), ("../out.cls", b"0"), ("/abs.png", colour(1)),
               ("/abs.cls", b"1")]  # fmt: skip
    shard(tmp_path / "in" / "0.tar", *members)
    attempt(lambda: index({"type": "webdataset", "path": str(tmp_path / "in")}, 1),
            lambda table: len(table) == 2 and len(list(tmp_path.rglob("*"))) == 2)  # fmt: skip


SHARDS = {
    "cut": lambda f: f.write_bytes(f.read_bytes()[:700]),
    "empty": lambda f: f.write_bytes(b""),
    "zeros": lambda f: f.write_bytes(bytes(4096)),
    "compressed": lambda f: f.write_bytes(__import__("gzip").compress(f.read_bytes())),
    "text": lambda f: f.write_text("no tar"),
    "a pipe": lambda f: (f.unlink(), os.mkfifo(f)),
    "a folder": lambda f: (f.unlink(), f.mkdir()),
    "a damaged head": lambda f: f.write_bytes(
        f.read_bytes()[:1024] + b"\x01" + f.read_bytes()[1025:]
    ),
}


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
@pytest.mark.parametrize("name", SHARDS)
def test_shards(tmp_path, attempt, name, kind):
    if kind == "webdataset":
        file = shard(tmp_path / "0.tar", *GOOD)
    else:
        file = table_of(tmp_path / "0.parquet", label=[0, 1])
    SHARDS[name](file)
    if kind == "parquet" and name == "a damaged head":  # parquet's is at its end
        file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    attempt(lambda: index({"type": kind, "path": str(tmp_path)}, 1))


PATTERNS = ["{5..1}.tar", "{0..99999999999}.tar", "{0..3}.tar", "*.txt", "[.tar", "{a..b}.tar", ""]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns(tmp_path, attempt, pattern):
    shard(tmp_path / "sub0.tar", *GOOD)
    path = str(tmp_path / "nothing" / pattern)
    attempt(lambda: index({"type": "webdataset", "path": path}, 1))


def table_of(file, paths=None, **columns):
    """A parquet file with images ``colour(0)``, ``colour(1)`` ..."""
    count = len(next(iter(columns.values())))
    images = [{"bytes": colour(i), "path": p} for i, p in enumerate(paths or [None] * count)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = {"image": pa.array(images, kind)}
    values |= {n: v if isinstance(v, pa.Array) else pa.array(v) for n, v in columns.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(values), file)
    return file


LABELS = {
    "fractions": [0.5, 1.5],
    "no numbers": [float("nan"), 1.0],
    "infinite": [float("inf"), 1.0],
    "truths": [True, False],
    "lists": [[0], [1]],
    "bytes": [b"cat", b"dog"],
    "nothing": [None, None],
    "one of nothing": [0, None],
    "minus": [-2, 0],
    "too large": [10**18, 0],
    "times": pa.array([0, 1], pa.timestamp("s")),
    "decimals": pa.array(["0.5", "1.5"]).cast(pa.decimal128(5, 1)),
    "structs": [{"a": 1}, {"a": 2}],
    "names and numbers": ["cat", "1"],
    "a name and nothing": ["cat", None],
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_parquet(tmp_path, attempt, name):
    table_of(tmp_path / "0.parquet", label=LABELS[name])
    attempt(lambda: index({"type": "parquet", "path": str(tmp_path)}))


IMAGES = {
    "paths": ["a.jpg", "b.jpg"],
    "numbers": [1, 2],
    "lists of bytes": [[b"a"], [b"b"]],
    "structs without bytes": [{"path": "a"}, {"path": "b"}],
    "structs of text": [{"bytes": "a"}, {"bytes": "b"}],
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_parquet(tmp_path, attempt, name):
    pq.write_table(pa.table({"image": IMAGES[name], "label": [0, 1]}), tmp_path / "0.parquet")
    attempt(lambda: index({"type": "parquet", "path": str(tmp_path)}))


def test_a_column_twice_in_parquet(tmp_path, attempt):
    columns = [pa.array([colour(0)]), pa.array([0]), pa.array([1])]
    pq.write_table(pa.table(columns, ["image", "label", "label"]), tmp_path / "0.parquet")
    attempt(lambda: index({"type": "parquet", "path": str(tmp_path)}))


def test_other_metadata_in_parquet(tmp_path, attempt):
    table = pa.table({"image": [colour(0)], "label": [0]})
    facts = {"info": {"features": {"label": {"_type": "Nonsense"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, tmp_path / "0.parquet")
    attempt(lambda: index({"type": "parquet", "path": str(tmp_path)}))


@pytest.mark.parametrize("bad", ["empty", "text", "a null"])
def test_images_in_parquet_that_are_none(tmp_path, attempt, bad):
    content = {"empty": b"", "text": b"no image", "a null": None}[bad]
    images = pa.array([colour(0), content], pa.binary())
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "0.parquet")
    source = {"type": "parquet", "path": str(tmp_path)}
    attempt(lambda: sample(index(source), source, "all", 0, "fail", tmp_path / "packed", 1))


@pytest.mark.parametrize("named", [True, False])
def test_parquet_files_of_one_name_in_two_folders(tmp_path, attempt, named):
    """Each image keeps its own pixels."""
    for i, folder in enumerate(("x", "y")):
        file = tmp_path / "set" / folder / "0.parquet"
        images = [{"bytes": colour(10 * i + j), "path": f"{j}.png" if named else None}
                  for j in range(2)]  # fmt: skip
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        pq.write_table(pa.table({"image": pa.array(images, kind), "label": [i, i]}), file) if (
            file.parent.mkdir(parents=True) is None
        ) else None
    source = {"type": "parquet", "path": str(tmp_path / "set" / "*" / "0.parquet")}

    def drawn():
        table, _ = sample(index(source), source, "all", 0, "fail", tmp_path / "packed", 1)
        places = locations(str(tmp_path / "packed"), table)
        return [(open_rgb(p).getpixel((0, 0))[0] // 10, n) for p, n in
                zip(places, table["label"], strict=True)]  # fmt: skip

    attempt(drawn, lambda pairs: len(pairs) == 4 and all(a == b for a, b in pairs))


VALUES = [True, 1.5, float("nan"), float("inf"), -2, 10**9, "1.5", "-1", "+1", "1e3", "\u0663",
          "1_0", b"1", [1], {"a": 1}, "9" * 5000]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: str(v)[:12])
def test_values_that_are_no_class_number(attempt, value):
    attempt(lambda: class_number(value, "here"))


@FAST
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True))
def test_any_names_of_images_come_back(tmp_path_factory, attempt, names):
    """Names through a list, a manifest and a sample: the same text, or a sentence."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "set").mkdir()
    table = pd.DataFrame({"file": names, "label": [f"c{i}" for i in range(len(names))]})
    with open(folder / "list.csv", "w", newline="", encoding="utf-8", errors="surrogatepass") as f:
        table.to_csv(f, index=False, quoting=csv.QUOTE_ALL)  # a lone \r ends a line
    source = {
        "type": "imagefolder",
        "path": str(folder / "set"),
        "labels": str(folder / "list.csv"),
    }

    def listed():
        index(source).to_csv(folder / "manifest.csv", index=False)
        return read_rows(folder / "manifest.csv")

    def right(rows):
        plain = [os.path.normpath(name) for name in names]
        return rows["path"].tolist() == plain and rows["image_id"].tolist() == plain

    attempt(listed, right)


LABEL = st.one_of(st.integers(), st.floats(), st.text(max_size=6), st.none(), st.booleans())


@FAST
@given(st.lists(LABEL, min_size=1, max_size=4))
def test_any_labels_of_a_list(tmp_path_factory, attempt, labels):
    folder = tmp_path_factory.mktemp("list")
    (folder / "set").mkdir()
    rows = pd.DataFrame({"file": [f"{i}.png" for i in range(len(labels))], "label": labels})
    try:
        rows.to_csv(folder / "list.csv", index=False)
    except UnicodeEncodeError:
        return
    source = {
        "type": "imagefolder",
        "path": str(folder / "set"),
        "labels": str(folder / "list.csv"),
    }

    def right(table):
        whole = [str(value).strip() for value in labels]
        numbers = all(text.isdigit() for text in whole)
        same = table["label_name"].tolist() == whole
        order = {name: i for i, name in enumerate(sorted(set(whole)))}
        wanted = [int(t) if numbers else order[t] for t in whole]
        return same and table["label"].tolist() == wanted

    attempt(lambda: index(source), right)


@FAST
@given(st.data())
def test_any_change_of_a_tar(tmp_path_factory, attempt, data):
    """Another image or label at most where its bytes were changed; else a sentence."""
    folder = tmp_path_factory.mktemp("tar")
    file = shard(folder / "0.tar", *GOOD)
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, 4 * 1024 - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        with tarfile.open(fileobj=io.BytesIO(bytes(content))) as tar:
            inside = {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}
    except (tarfile.TarError, AttributeError):
        inside = {}

    def right(table):
        for row in table.to_dict("records"):
            held = bytes(content)[row["offset"] : row["offset"] + row["bytes"]]
            if held not in inside.values():
                return False
        return 0 < len(table) <= 2

    attempt(lambda: index({"type": "webdataset", "path": str(folder)}, 1), right)


@FAST
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_change_of_a_parquet_file(tmp_path_factory, attempt, at, flip):
    """Of its labels none is no class number, and none is made up for an image."""
    folder = tmp_path_factory.mktemp("parquet")
    file = table_of(folder / "0.parquet", label=[0, 1])
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= flip
    file.write_bytes(content)
    source = {"type": "parquet", "path": str(folder)}

    def right(table):
        # A changed label cannot be known; it must still be one.
        return len(table) == 2 and np.issubdtype(table["label"].dtype, np.integer)

    attempt(lambda: index(source), right)
