"""A packed study comes back whole from a file, an address or a DOI, or not at all."""

import gzip
import hashlib
import http.server
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import fetch  # programs, not of the library
import pack
import pytest
import verify
from small_pack import FILES, STUDY

from tokenscope.errors import StudyError
from tokenscope.packing import archive, source, unpacking


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
            if isinstance(body, Slow):
                self.wfile.write(body[: len(body) // 2])
                body.begun.set()
                body.end.wait(60)
            else:
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


def test_what_was_fetched_is_verified_by_the_list_of_its_pack(packed, laptop, capsys):
    fetch.main([str(packed)])
    assert "Next: make figure FIG=fig3 CONFIG=mine.yaml, make" in capsys.readouterr().out
    assert verify.main("mine.yaml") == 0
    assert capsys.readouterr().out == "Whole: 5 files as they were packed.\n"
    table = laptop / "results/mine/tables/claim1.csv"
    table.write_text(table.read_text().replace("1", "2"))
    (laptop / "results/mine/ro-crate-metadata.json").unlink()
    assert verify.main("mine.yaml") == 2
    said = capsys.readouterr().out
    assert "results/mine/tables/claim1.csv: is not as it was packed; fetch it again" in said
    assert "ro-crate-metadata.json: was packed, and is gone" in said and "2 of 5 files" in said
    (laptop / "results/mine/pack.json").write_text('{"files": [], "results": 1}')
    with pytest.raises(StudyError, match=r"pack\.json: is damaged"):
        verify.main("mine.yaml")
    (laptop / "results/mine/pack.json").unlink()
    assert verify.main("mine.yaml") == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_how_make_takes_what_was_fetched():
    assert fetch.next_call("paper", "config/config.yaml") == "STUDY=paper"
    assert fetch.next_call("mine", "studies/mine/study.yaml") == "STUDY=mine"
    assert fetch.next_call("mine", "my own.yaml") == "CONFIG='my own.yaml'"


def test_equal_files_make_equal_archives(packed, monkeypatch):
    before = packed.read_bytes()
    monkeypatch.chdir(packed.parents[2])
    Path("results/mine/tables/.DS_Store").write_text("what a system leaves")
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


def whole_or_refused(bad, laptop):
    """Whether a damaged pack is fetched, with all bytes; else it is named and nothing is left."""
    try:
        fetch.fetch(str(bad), "mine")
    except StudyError as error:
        assert "bad.tar.gz" in str(error) and set(below(laptop)) == {"bad.tar.gz"}
        return False
    assert all((laptop / name).read_text() == text for name, text in FILES.items())
    shutil.rmtree(laptop / "results")
    (laptop / "mine.yaml").unlink()
    return True


def test_every_flipped_byte_is_found(packed, laptop):
    """But for one that decides nothing, such as the bits that fill up a deflated stream."""
    whole = bytearray(packed.read_bytes())
    idle, places = 0, range(10, len(whole), 7)
    for at in places:
        bad = laptop / "bad.tar.gz"
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        idle += whole_or_refused(bad, laptop)
    assert idle < len(places) / 10


@pytest.mark.parametrize("bit", [0x01, 0x40, 0x80])
def test_headers_of_any_bytes(packed, laptop, bit):
    """Of a stream that is whole again, so that no checksum tells: a sentence, or equal files."""
    whole, heads = bytearray(gzip.decompress(packed.read_bytes())), []
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        for member in tar:
            heads += range(member.offset, member.offset_data)
    taken = 0
    for at in heads[::3]:
        bad = laptop / "bad.tar.gz"
        changed = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        block = at - at % 512  # its checksum fits again, but where a byte of the checksum is meant
        if not 148 <= at % 512 < 156:
            head = changed[block : block + 148] + b" " * 8 + changed[block + 156 : block + 512]
            changed[block + 148 : block + 156] = b"%06o\0 " % sum(head)
        bad.write_bytes(gzip.compress(changed, 1))
        taken += whole_or_refused(bad, laptop)
    assert 0 < taken < len(heads[::3])


def timed(seconds):
    def change(members):
        members[-1][0].mtime = seconds
        members[-1][0].pax_headers = {}
        return members

    return change


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


def listed_too(name, link=tarfile.REGTYPE):
    """A member more that the list names as well."""

    def change(members):
        (first, content), *rest = members
        listed, sha256 = json.loads(content), hashlib.sha256(b"x").hexdigest()
        listed["files"][name] = {"bytes": 1 if link == tarfile.REGTYPE else 0, "sha256": sha256}
        member = tarfile.TarInfo(name)
        member.type, member.linkname = link, "../../outside"
        body = b"x" if link == tarfile.REGTYPE else b""
        return [(first, json.dumps(listed).encode()), *rest, (member, body)]

    return change


OUTSIDE = ["../above.csv", "/tmp/absolute.csv", "C:/drive.csv", "a\\b.csv", ".git/config.yaml",
           "workflow_scripts/code.py", "sitecustomize.py", "profiles/default/config.yaml",
           "./Profiles/default/config.yaml", ".github/workflows/a.yml",
           "results/mine/numpy/__init__.py", "results/mine/x.yaml",
           "results/mine/tables/.pth"]  # fmt: skip
CHANGES = {
    "a flipped byte of a file": (
        lambda m: [(i, c.replace(b"1,2", b"1,3", 1)) for i, c in m],
        ["results/mine/tables/claim1.csv is damaged"],
    ),
    "a file more": (lambda m: [*m, (tarfile.TarInfo("more.txt"), b"x")], ["more.txt is none of"]),
    "a file less": (lambda m: m[:-1], ["1 files are missing: mine.yaml"]),
    "a longer file": (lambda m: [*m[:-1], (m[-1][0], m[-1][1] + b"x")], ["were packed"]),
    "a file above": (named_anew("../mine.yaml"), ["../mine.yaml is none of"]),
    "a time past all time": (timed(1e30), ["mine.yaml is damaged: no file can be of the time"]),
    "no list": (lambda m: m[1:], ["holds no list of its files"]),
    "a damaged list": (lambda m: [(m[0][0], b"{"), *m[1:]], ["pack.json, is damaged"]),
    "another format": (in_list(format=2, version="3.1"), ["format 2", "version 3.1", "format 1"]),
    "another version": (in_list(version="7.0", commit="abc"), ["version 7.0, commit abc"]),
    **{f"listed too: {name}": (listed_too(name), ["no file that a pack may"]) for name in OUTSIDE},
    "a link": (listed_too("results/mine/tables/l", tarfile.SYMTYPE), ["l is no file that a pack"]),
    "a hard link": (
        listed_too("results/mine/tables/l", tarfile.LNKTYPE),
        ["l is no file that a pack"],
    ),
    "more than the disk has": (
        lambda m: in_list(
            files={**json.loads(m[0][1])["files"], "a.csv": {"bytes": 10**18, "sha256": "0"}}
        )(m),
        ["1,000,000,000,00", "MB are free here: make room"],
    ),
    "results in git": (in_list(results=".git/x"), ["pack.json, is damaged"]),
    "results that make takes for an environment": (
        in_list(results=".venv"),
        ["pack.json, is damaged"],
    ),
    "results above": (in_list(results="../x"), ["pack.json, is damaged"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_pack_that_is_not_what_was_packed(packed, laptop, name):
    change, words = CHANGES[name]
    file = remade(packed, laptop, change)
    refused(laptop, file, *words)


def test_two_packs_in_one(packed, laptop):
    both = laptop / "both.tar.gz"
    both.write_bytes(2 * packed.read_bytes())
    refused(laptop, both, "both.tar.gz: is more than one archive")


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


def test_an_answer_that_is_cut_in_pieces_and_other_statuses(packed, laptop, web):
    address, _, answers = web
    chunk = b"5\r\nhello\r\n5\r\nwor"  # the second is not whole, and no last one follows
    answers["/chunks"] = 200, {"Transfer-Encoding": "chunked"}, chunk
    refused(laptop, f"{address}/chunks", "the download broke off")
    for status in (401, 403, 404, 429, 500, 503):
        answers["/status"] = status, {}, b""
        refused(laptop, f"{address}/status", f"answers {status}")
    for name, body, words in (
        ("page", b"\n<html>log in</html>", "is a web page, no .tar.gz"),
        ("zip", b"PK\x03\x04...", "is a zip archive, no .tar.gz"),
        ("nothing", b"", "is empty"), ("text", b"none", "is no .tar.gz"),
    ):  # fmt: skip
        answers[f"/{name}"] = 200, {}, body
        refused(laptop, f"{address}/{name}", f"FROM={address}/{name}: {words}")
    answers["/here"] = 302, {"Location": "/there"}, b""
    answers["/there"] = 302, {"Location": "/here"}, b""
    refused(laptop, f"{address}/here", "would lead to an infinite loop.)")
    answers["/length"] = 200, {"Content-Length": "many"}, packed.read_bytes()
    fetch.fetch(f"{address}/length", "mine")
    assert (laptop / "mine.yaml").read_text() == STUDY
    shutil.rmtree(laptop / "results")
    refused(laptop, "http://127.0.0.1:1/x.tar.gz", "127.0.0.1:1/x.tar.gz: cannot be reached")


def test_from_the_page_of_a_record(packed, laptop, web):
    address, folder, answers = web
    (folder / "mine.tar.gz").write_bytes(packed.read_bytes())
    files = [{"key": "mine.tar.gz", "links": {"content": f"{address}/mine.tar.gz"}}]
    answers["/api/records/77"] = 200, {}, json.dumps({"files": files}).encode()
    fetch.fetch(f"{address}/records/77", "mine")
    assert (laptop / "mine.yaml").read_text() == STUDY


def test_what_a_dry_run_expects_of_a_study_is_no_study(packed, laptop):
    forecast = laptop / "results/mine/accounting/forecast/by_rule.csv"
    forecast.parent.mkdir(parents=True)
    forecast.write_text("rule\n")
    fetch.fetch(str(packed), "mine")
    assert (laptop / "results/mine/tables/claim1.csv").is_file() and not forecast.exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="only root mounts a disk")
@pytest.mark.parametrize("free", [8, 64])  # kB: for no download, for no unpacking
def test_a_disk_that_is_full(packed, laptop, web, monkeypatch, free):
    """A real one: of a few kB. Its room is asked beforehand, and may be gone all the same."""
    address, folder, _ = web
    archive = noisy(packed, folder / "mine.tar.gz")
    small = laptop / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={free}k", "none", small]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        monkeypatch.chdir(small)
        if free == 64:  # as another job would take the room that was there
            monkeypatch.setattr(unpacking, "_check_room", lambda *_: None)
            refused(small, archive, "cannot be written", "No space left on device")
            monkeypatch.undo()
            monkeypatch.chdir(small)
            refused(small, archive, "MB are free here: make room")
        else:
            refused(small, f"{address}/mine.tar.gz", "cannot be kept in", "No space left")
    finally:
        monkeypatch.chdir(laptop)
        subprocess.run(["umount", small], check=True)


def noisy(packed, file):
    """The pack with a table that does not shrink: 40 kB in the archive, 80 kB out of it."""
    text = random.Random(0).randbytes(40_000).hex().encode()

    def change(members):
        (first, content), *rest = members
        listed = json.loads(content)
        entry = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
        listed["files"]["results/mine/tables/claim1.csv"] = entry
        rest = [(m, text if m.name.endswith("claim1.csv") else c) for m, c in rest]
        return [(first, json.dumps(listed).encode()), *rest]

    return remade(packed, file.parent, change).rename(file)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_begun_again(packed, laptop, web, how):
    address, folder, answers = web
    answers["/slow.tar.gz"] = 200, {"Content-Length": "9999999"}, Slow(packed.read_bytes())
    words = [sys.executable, fetch.__file__, f"{address}/slow.tar.gz", "--study", "mine"]
    env = {**os.environ, "PYTHONPATH": str(Path(fetch.__file__).parent)}
    job = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env)
    assert answers["/slow.tar.gz"][2].begun.wait(60)
    job.send_signal(how)
    said = job.communicate(timeout=60)[1]
    answers["/slow.tar.gz"][2].end.set()
    assert job.returncode == 130 and said.startswith("fetch: stopped") and "Trace" not in said
    assert not below(laptop) and not list(laptop.iterdir())
    (laptop / ".fetch-killed").mkdir()  # what a killed one left, and one at work
    os.utime(laptop / ".fetch-killed", (0, 0))
    (laptop / ".fetch-working").mkdir()
    fetch.fetch(str(packed), "mine")
    assert [f.name for f in laptop.glob(".fetch-*")] == [".fetch-working"]


class Slow(bytes):
    """A body of which half is sent, and the rest not before the end."""

    def __init__(self, *_):
        self.begun, self.end = threading.Event(), threading.Event()


def test_configs_are_as_before_when_results_cannot_be_placed(packed, laptop, monkeypatch):
    (laptop / "mine.yaml").write_text("study: mine  # of one's own\n")

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.rename", full)
    refused(laptop, packed, "results/mine: cannot be written", replace=True)
    assert (laptop / "mine.yaml").read_text() == "study: mine  # of one's own\n"


def test_nothing_stays_when_the_disk_does_not_take_it(packed, laptop, monkeypatch):
    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.rename", full)
    refused(laptop, packed, "results/mine: cannot be written (No space left on device)")


def test_what_is_printed(packed, laptop, capsys):
    assert fetch.main([str(packed), "--study", "mine"]) == 0
    said = capsys.readouterr().out
    assert "results/mine: 5 files" in said and "make report CONFIG=mine.yaml" in said
    assert fetch.main(["absent"]) == 1
    assert capsys.readouterr().err.startswith("fetch: FROM=absent: there is no such file")
    assert archive.LIST == "pack.json" and Path("results/mine/pack.json").is_file()
