"""Where a packed study comes from: a file, an address on the web, or a DOI.

A DOI leads to a record of a data repository; those that run InvenioRDM (Zenodo and many of
universities) list the files of a record below ``/api/records/``.
"""

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tokenscope.errors import StudyError, some

RESOLVER = "https://doi.org/"  # before a DOI
DOI = re.compile(r"(?:doi:|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.I)
RECORD = re.compile(r"(https?://[^/]+)(?:/.*)?/records?/([\w-]+)/?")
ENDING = ".tar.gz"
SECONDS = 60  # without a byte
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AGENT = {"User-Agent": "tokenscope"}


def obtain(named: str, study: str, folder: Path) -> Path:
    """The archive that ``named`` means, on this disk; what is downloaded goes into ``folder``.

    Args:
        named: path of a file, ``http(s)://`` address, or DOI.
        study: chooses among the archives of a record.

    Raises:
        StudyError: it is not there, cannot be reached, or did not come whole.
    """
    if (path := Path(named).expanduser()).is_file():
        return path
    if path.is_dir():
        raise StudyError(f"FROM={named}: is a folder; name the archive in it (<study>{ENDING})")
    if found := DOI.fullmatch(named):
        doi = f"the DOI {found[1]}"
        with _open(f"{RESOLVER}{found[1]}", doi) as answer:
            page = answer.url
        return _of_record(page, doi, study, folder)
    if RECORD.fullmatch(named):
        return _of_record(named, named, study, folder)
    if not re.match(r"https?://", named):
        raise StudyError(f"FROM={named}: there is no such file, and it is no address and no DOI")
    return _download(named, folder / f"{study}{ENDING}")


def _of_record(page: str, what: str, study: str, folder: Path) -> Path:
    """The archive of a study among the files of a data repository's record."""
    record = RECORD.match(page)
    if not record:
        raise StudyError(
            f"{what} leads to {page}, whose files cannot be listed: open it, and give the "
            f"address of the archive itself, FROM=https://.../<study>{ENDING}"
        )
    api = f"{record[1]}/api/records/{record[2]}"
    with _open(api, what) as answer:
        try:
            files = {entry["key"]: entry for entry in json.load(answer)["files"]}
        except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
            raise StudyError(f"{api}: does not list the files of {what} as expected") from None
    archives = [name for name in files if name.endswith(ENDING)]
    wanted = f"{study}{ENDING}" if f"{study}{ENDING}" in files else ""
    if not wanted and len(archives) == 1:
        wanted = archives[0]
    if not wanted:
        raise StudyError(
            f"{what} holds no {study}{ENDING}: it has {some(sorted(files)) or 'no files'}"
        )
    links = files[wanted].get("links", {})
    archive = _download(
        links.get("content") or links.get("self") or f"{api}/files/{wanted}/content",
        folder / f"{study}{ENDING}",
    )
    kind, _, expected = str(files[wanted].get("checksum", "")).partition(":")
    if expected and kind in ("md5", "sha256"):
        with archive.open("rb") as handle:
            taken = hashlib.file_digest(handle, kind).hexdigest()
        if taken != expected:
            raise StudyError(
                f"{wanted} of {what} did not come as it was deposited ({kind} {taken}, deposited "
                f"{expected}): fetch it again"
            )
    return archive


def _download(address: str, file: Path) -> Path:
    """A file of the web, whole."""
    with _open(address, address) as answer, file.open("wb") as handle:
        try:
            shutil.copyfileobj(answer, handle)
            handle.flush()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                why = f"cannot be kept in {file.parent.parent.resolve()} ({error.strerror})"
                raise StudyError(f"{address}: {why}: make room, or work on another disk") from None
            raise StudyError(f"{address}: the download broke off ({error}); try again") from None
        expected, size = answer.headers.get("Content-Length", ""), handle.tell()
    if expected.isdecimal() and int(expected) != size:
        raise StudyError(
            f"{address}: the download was cut off after {size:,} of {int(expected):,} bytes; "
            "fetch it again"
        )
    return file


def _open(address: str, what: str):
    request = urllib.request.Request(address, headers=_AGENT)
    try:
        return urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        said = str(error.reason).partition("\n")[0]  # of a loop it says three lines
        raise StudyError(
            f"{what}: {urlsplit(address).netloc} answers {error.code} ({said})"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        proxy = " (a proxy is set)" if os.environ.get("https_proxy") else ""
        raise StudyError(f"{what}: cannot be reached{proxy}: {why}") from None
