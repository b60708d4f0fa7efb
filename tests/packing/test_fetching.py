"""A packed study comes back whole from a file, an address or a DOI, or not at all."""

import gzip
import http.server
import io
import json
import shutil
import tarfile
import threading
from pathlib import Path

import fetch  # programs, not of the library
import pack
import pytest
from small_pack import FILES, STUDY

from tokenscope.errors import StudyError
from tokenscope.packing import archive, source


@pytest.fixture
def web(tmp_path):
    """A server of a folder: its address, the folder, and what it answers in its stead by path."""
    folder, answers = tmp_path / "web", {}
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            if self.path not in answers:
                return super().do_GET()
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, answers
    server.shutdown()
    server.server_close()


def below(folder):
    """All files below a folder, with their bytes."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def refused(laptop, named, *words, **options):
    """Fetching says all words, and leaves nothing behind."""
    before = below(laptop)
    with pytest.raises(StudyError) as error:
        fetch.fetch(str(named), **options)
    assert all(word in str(error.value) for word in words), error.value
    assert below(laptop) == before and not list(laptop.glob(".fetch-*"))


def test_from_a_file_with_all_bytes_and_times(packed, laptop):
    listed = fetch.fetch(str(packed), "mine")
    cluster = packed.parents[2]
    for name, text in {**FILES, "mine.yaml": STUDY}.items():
        assert (laptop / name).read_text() == text
        assert abs((laptop / name).stat().st_mtime - (cluster / name).stat().st_mtime) < 1e-3
        assert listed["files"][name]["bytes"] == len(text)
    assert set(below(laptop)) == {
        *FILES,
        "mine.yaml",
        "results/mine/pack.json",
        "results/mine/ro-crate-metadata.json",
    }
    assert json.loads((laptop / "results/mine/pack.json").read_text()) == listed
    assert listed["study"] == "mine" and listed["config"] == "mine.yaml"
    refused(laptop, packed, "results/mine is there already")  # a second time


def test_equal_files_make_equal_archives(packed, monkeypatch):
    before = packed.read_bytes()
    monkeypatch.chdir(packed.parents[2])
    pack.main("mine.yaml")
    assert packed.read_bytes() == before


def test_from_an_address(packed, laptop, web):
    address, folder, _ = web
    (folder / "some.tar.gz").write_bytes(packed.read_bytes())
    fetch.fetch(f"{address}/some.tar.gz", "mine")
    assert (laptop / "results/mine/tables/claim1.csv").read_text() == FILES[
        "results/mine/tables/claim1.csv"
    ]
    refused(laptop, f"{address}/none.tar.gz", "answers 404")


def test_from_a_doi_by_the_record_it_leads_to(packed, laptop, web, monkeypatch):
    address, folder, answers = web
    (folder / "mine.tar.gz").write_bytes(packed.read_bytes())
    monkeypatch.setattr(source, "RESOLVER", f"{address}/doi/")

    def record(checksum, name="mine.tar.gz"):
        entry = {"key": name, "checksum": checksum, "links": {"self": f"{address}/mine.tar.gz"}}
        files = [entry, {"key": "README.md"}]
        answers["/api/records/77"] = 200, {}, json.dumps({"files": files}).encode()

    answers["/doi/10.5281/zenodo.77"] = 302, {"Location": "/records/77"}, b""
    answers["/records/77"] = 200, {}, b"<html>"
    record("md5:" + "0" * 32)
    refused(laptop, "10.5281/zenodo.77", "did not come as it was deposited", study="mine")
    record("", name="notes.txt")
    refused(laptop, "10.5281/zenodo.77", "holds no mine.tar.gz", "notes.txt", study="mine")
    answers["/doi/10.1000/other"] = 302, {"Location": "/article/9"}, b""
    answers["/article/9"] = 200, {}, b"<html>"
    refused(laptop, "10.1000/other", "/article/9, whose files cannot be listed")
    record("")
    fetch.fetch("doi:10.5281/zenodo.77", "mine")
    assert (laptop / "mine.yaml").read_text() == STUDY


def test_a_download_that_breaks_off(packed, laptop, web):
    address, _, answers = web
    whole = packed.read_bytes()
    answers["/cut"] = 200, {"Content-Length": str(len(whole))}, whole[: len(whole) // 2]
    refused(laptop, f"{address}/cut", "cut off after", f"of {len(whole):,} bytes")
    answers["/silent"] = 200, {}, whole[:-9]  # no length is told: the stream itself lacks its end
    refused(laptop, f"{address}/silent", "was cut off")


def test_every_flipped_byte_is_found(packed, laptop):
    """But for one that decides nothing, such as the bits that fill up a deflated stream."""
    whole = bytearray(packed.read_bytes())
    idle, places = 0, range(10, len(whole), 7)
    for at in places:
        bad = laptop / "bad.tar.gz"
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        try:
            fetch.fetch(str(bad), "mine")
        except StudyError as error:
            assert "bad.tar.gz" in str(error) and set(below(laptop)) == {"bad.tar.gz"}
        else:
            assert all((laptop / name).read_text() == text for name, text in FILES.items())
            idle += 1
            shutil.rmtree(laptop / "results")
            (laptop / "mine.yaml").unlink()
    assert idle < len(places) / 10


def remade(packed, laptop, change):
    """The same pack with its members changed, in a stream that is whole again."""
    file = laptop / "other.tar.gz"
    with tarfile.open(packed) as old, tarfile.open(file, "w:gz") as new:
        members = [(m, old.extractfile(m).read()) for m in old]
        for member, content in change(members):
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return file


def in_list(**facts):
    def change(members):
        (first, content), *rest = members
        return [(first, json.dumps({**json.loads(content), **facts}).encode()), *rest]

    return change


def named_anew(name):
    def change(members):
        members[-1][0].name = name
        return members

    return change


CHANGES = {
    "a flipped byte of a file": (
        lambda m: [(i, c.replace(b"1,2", b"1,3", 1)) for i, c in m],
        ["results/mine/tables/claim1.csv is damaged"],
    ),
    "a file more": (lambda m: [*m, (tarfile.TarInfo("more.txt"), b"x")], ["more.txt is none of"]),
    "a file less": (lambda m: m[:-1], ["1 files are missing: mine.yaml"]),
    "a longer file": (lambda m: [*m[:-1], (m[-1][0], m[-1][1] + b"x")], ["were packed"]),
    "a file above": (named_anew("../mine.yaml"), ["../mine.yaml is none of"]),
    "no list": (lambda m: m[1:], ["holds no list of its files"]),
    "a damaged list": (lambda m: [(m[0][0], b"{"), *m[1:]], ["pack.json, is damaged"]),
    "another format": (in_list(format=2, version="3.1"), ["format 2", "version 3.1", "format 1"]),
    "another version": (in_list(version="7.0", commit="abc"), ["version 7.0, commit abc"]),
    "results above": (in_list(results="../x"), ["pack.json, is damaged"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_pack_that_is_not_what_was_packed(packed, laptop, name):
    change, words = CHANGES[name]
    file = remade(packed, laptop, change)
    refused(laptop, file, *words)


def test_another_study_another_config_or_no_pack_at_all(packed, laptop):
    refused(laptop, packed, "holds the study 'mine', not 'paper'", study="paper")
    (laptop / "mine.yaml").write_text("study: mine  # of one's own\n")
    refused(laptop, packed, "mine.yaml: here of other content", "REPLACE=yes")
    fetch.fetch(str(packed), "mine", replace=True)
    assert (laptop / "mine.yaml").read_text() == STUDY
    with gzip.open(laptop / "text.tar.gz", "wb") as handle:
        handle.write(b"no archive")
    refused(laptop, laptop / "text.tar.gz", "is damaged")
    refused(laptop, laptop, "is a folder")
    refused(laptop, "absent.tar.gz", "no such file")


def test_nothing_stays_when_the_disk_does_not_take_it(packed, laptop, monkeypatch):
    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.rename", full)
    refused(laptop, packed, "results/mine: cannot be written (No space left on device)")


def test_what_is_printed(packed, laptop, capsys):
    assert fetch.main([str(packed), "--study", "mine"]) == 0
    said = capsys.readouterr().out
    assert "results/mine: 5 files" in said and "make report STUDY=mine" in said
    assert fetch.main(["absent"]) == 1
    assert capsys.readouterr().err.startswith("fetch: FROM=absent: there is no such file")
    assert archive.LIST == "pack.json" and Path("results/mine/pack.json").is_file()
