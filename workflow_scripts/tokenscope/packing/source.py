"""Where a packed study comes from: a file, an address on the web, or a DOI.

A DOI leads to a record of a data repository; those that run InvenioRDM (Zenodo and many of
universities) list the files of a record below ``/api/records/``.
"""

import hashlib
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
ENDING = ".tar.gz"
SECONDS = 60  # without a byte
_AGENT = {"User-Agent": "tokenscope"}


def obtain(named: str, study: str, folder: Path) -> Path:
    """The archive that ``named`` means, on this disk; what is downloaded goes into ``folder``.

    Args:
        named: path of a file, ``http(s)://`` address, or DOI.
        study: chooses among the archives of a record.

    Raises:
        StudyError: it is not there, cannot be reached, or did not come whole.
    """
    if (path := Path(named)).is_file():
        return path
    if path.is_dir():
        raise StudyError(f"FROM={named}: is a folder; name the archive in it (<study>{ENDING})")
    if found := DOI.fullmatch(named):
        return _of_record(found[1], study, folder)
    if not re.match(r"https?://", named):
        raise StudyError(f"FROM={named}: there is no such file, and it is no address and no DOI")
    return _download(named, folder / f"{study}{ENDING}")


def _of_record(doi: str, study: str, folder: Path) -> Path:
    """The archive of a study among the files of a data repository's record."""
    with _open(f"{RESOLVER}{doi}", f"the DOI {doi}") as answer:
        page = answer.url
    record = re.match(r"(https?://[^/]+)(?:/.*)?/records?/([\w-]+)", page)
    if not record:
        raise StudyError(
            f"the DOI {doi} leads to {page}, whose files cannot be listed: open it, and give the "
            f"address of the archive itself, FROM=https://.../<study>{ENDING}"
        )
    api = f"{record[1]}/api/records/{record[2]}"
    with _open(api, f"the DOI {doi}") as answer:
        try:
            files = {entry["key"]: entry for entry in json.load(answer)["files"]}
        except (ValueError, KeyError, TypeError):
            raise StudyError(f"{api}: does not list the files of {doi} as expected") from None
    archives = [name for name in files if name.endswith(ENDING)]
    wanted = f"{study}{ENDING}" if f"{study}{ENDING}" in files else ""
    if not wanted and len(archives) == 1:
        wanted = archives[0]
    if not wanted:
        raise StudyError(
            f"the DOI {doi} holds no {study}{ENDING}: it has {some(sorted(files)) or 'no files'}"
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
                f"{wanted} of {doi} did not come as it was deposited ({kind} {taken}, deposited "
                f"{expected}): fetch it again"
            )
    return archive


def _download(address: str, file: Path) -> Path:
    """A file of the web, whole."""
    with _open(address, address) as answer, file.open("wb") as handle:
        try:
            shutil.copyfileobj(answer, handle)
        except OSError as error:
            raise StudyError(f"{address}: the download broke off ({error}); try again") from None
        expected, size = answer.headers.get("Content-Length"), handle.tell()
    if expected is not None and int(expected) != size:
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
        raise StudyError(
            f"{what}: {urlsplit(address).netloc} answers {error.code} ({error.reason})"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        proxy = " (a proxy is set)" if os.environ.get("https_proxy") else ""
        raise StudyError(f"{what}: cannot be reached{proxy}: {why}") from None
