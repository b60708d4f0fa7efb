"""Released weights from timm's repositories on the hub, straight into the study's cache.

There is no second copy in the home folder. What has arrived of a file stays when a download ends
early, and the next one goes on from there; a file takes its name when it equals the checksum that
the hub publishes.
"""

import os
import shutil
import time
from pathlib import Path

from tokenscope.errors import StudyError
from tokenscope.jobs.job import log
from tokenscope.jobs.leases import lock
from tokenscope.jobs.network import why
from tokenscope.stores.receipts import read_receipt, sha256_file, write_receipt

FILES = ("model.safetensors", "pytorch_model.bin")  # as timm names them, in this order
NOTE = "hub.json"  # beside the weights: repository, revision, checksum, licence
FREE = {"mit", "apache-2.0"}  # licences that ask for no second look


def fetch(repo: str, folder: Path) -> Path:
    """Download the weights of a repository into a folder, with a note of what they are.

    Must run before tokenscope.backbones.loading is imported, which forbids the network.

    Raises:
        StudyError: the reason, as a part of a sentence: what the hub answered, a quota, no network.
    """
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=60)
        held = {file.rfilename: file for file in info.siblings or []}
        name = next((name for name in FILES if name in held), None)
        if name is None:
            raise StudyError(f"{repo} holds none of the files {' and '.join(FILES)}")
        size, lfs = held[name].size or 0, held[name].lfs
        published = lfs.sha256 if lfs else ""
        note = {
            "repository": repo, "revision": info.sha or "", "file": name, "sha256": published,
            "licence": getattr(info.card_data, "license", None) or "",
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / name
        part = folder / f".{name}.{note['revision'][:12]}.part"
        held_lock = _wait(folder / ".lock")
        try:
            if target.is_file():
                return target  # of another job, meanwhile
            begun = part.stat().st_size if part.exists() else 0
            if begun > size:
                begun = 0
                part.unlink()
            room = shutil.disk_usage(folder).free
            if size - begun > room:
                raise StudyError(
                    f"{name} has {(size - begun) / 1e9:.1f} GB to come, and {folder} has room for "
                    f"{room / 1e9:.1f} GB: name another folder (weights: cache)"
                )
            if begun:
                log.info(
                    "goes on with %s of %s at %d of %d MB", name, repo, begun >> 20, size >> 20
                )
            url = hf_hub_url(repo, name, revision=info.sha)
            with open(part, "ab") as out:
                http_get(
                    url, out, resume_size=begun, headers=build_hf_headers(), expected_size=size
                )
            checksum = sha256_file(part)
            if published and checksum != published:
                part.unlink()
                raise StudyError(f"{name} of {repo} has arrived damaged: run again")
            write_receipt(folder / NOTE, **(note | {"sha256": checksum}))
            os.replace(part, target)
        finally:
            os.close(held_lock)
    except GatedRepoError:
        raise StudyError(
            f"{repo} asks you to accept a licence: do so on the hub, then export HF_TOKEN"
        ) from None
    except (HTTPError, OSError) as error:
        raise StudyError(why(error, f"the hub ({repo})", folder)) from None
    return target


def _wait(file: Path) -> int:
    """The lock of a folder: two backbones of a study may have the same weights."""
    while (held := lock(file)) is None:
        time.sleep(1)
    return held


def noted(file: Path, checksum: str) -> dict[str, str]:
    """What is known of weights that came from the hub: repository, revision, licence; else nothing.

    Raises:
        StudyError: the file is not what was downloaded.
    """
    path = file.parent / NOTE
    if not path.is_file():
        return {}
    note = read_receipt(path)
    if note.get("file") != file.name:
        return {}
    if note.get("sha256") != checksum:
        raise StudyError(
            f"{file} has changed since it was downloaded ({str(note.get('sha256'))[:16]}... by "
            f"{path}): delete it to obtain it again"
        )
    if note["licence"] not in FREE:
        log.info("licence of %s: %s", note["repository"], note["licence"] or "not stated")
    return {key: note[key] for key in ("repository", "revision", "licence")}
