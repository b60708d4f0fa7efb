"""Fetch somebody's packed study, compare every file with its checksum, and put it in its place.

    python workflow_scripts/fetch.py https://example.org/paper.tar.gz --study paper

Behind ``make fetch``. ``FROM`` is a file, an address, or a DOI of a data repository. Afterwards
``make figure`` and ``make report`` draw from it, without weights, images or tokens. Either all of
it is there afterwards, or nothing.
"""

import argparse
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tokenscope.errors import StudyError
from tokenscope.jobs.software import this_code
from tokenscope.packing import source, unpacking

ASIDE = ".fetch-"  # folders in which it is unpacked before it is placed
DAY = 86400


def fetch(named: str, study: str = "", replace: bool = False, home: Path = Path()) -> dict:
    """Fetch a packed study into a folder and return its list of files.

    Args:
        named: a file, an ``http(s)://`` address or a DOI.
        study: the name it must have; any without it.
        replace: also over configs of other content.
        home: the folder that it is unpacked in, that of the project.

    Raises:
        StudyError: it cannot be had, is damaged, of another version or another study, or something
            of that name is there.
    """
    code = this_code()
    _forget_killed(home)
    try:
        aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=home))
    except OSError as error:
        raise StudyError(f"nothing can be written in {home.resolve()} ({error})") from None
    try:
        archive = source.obtain(named, study or "study", aside)
        (aside / "unpacked").mkdir()
        listed = unpacking.unpack(archive, aside / "unpacked", code["version"], f"FROM={named}")
        if study and listed["study"] != study:
            raise StudyError(
                f"FROM={named}: holds the study '{listed['study']}', not '{study}': "
                f"STUDY={listed['study']} takes it"
            )
        unpacking.place(aside / "unpacked", listed, home, replace)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return listed


def _forget_killed(home: Path) -> None:
    """Remove what a fetch left that was killed, once it is a day old: another may be at work."""
    for folder in home.glob(f"{ASIDE}*"):
        if time.time() - folder.stat().st_mtime > DAY:
            shutil.rmtree(folder, ignore_errors=True)


def next_call(study: str, config: str) -> str:
    """What make takes a fetched study by: its name where its config is among those it knows."""
    known = Path(config).parts[:1] in (("config",), ("studies",))
    return f"STUDY={study}" if known or not config else f"CONFIG={shlex.quote(config)}"


def _stop(*_) -> None:
    raise KeyboardInterrupt


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Fetch a packed study")
    parser.add_argument("named", metavar="FROM", help="file, address or DOI")
    parser.add_argument("--study", default="", help="the name it must have")
    parser.add_argument("--replace", action="store_true", help="replace configs of other content")
    options = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        listed = fetch(options.named, options.study, options.replace)
    except StudyError as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch: stopped; nothing was unpacked: begin again", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    size = sum(entry["bytes"] for entry in listed["files"].values()) / 1e6
    name, packed, here = listed["study"], listed.get("commit", ""), this_code()["commit"]
    print(
        f"{listed['results']}: {len(listed['files'])} files, {size:.2f} MB, each as it was packed"
    )
    if packed and packed != here:
        print(f"packed by commit {packed}; the code here is {here or 'of no known commit'}")
    by = next_call(name, listed.get("config", ""))
    print(f"Next: make figure FIG=fig3 {by}, make report {by}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
