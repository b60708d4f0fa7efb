"""Released weights from timm's repositories on the hub, straight into the study's cache.

There is no second copy in the home folder. What has arrived of a file stays when a download ends
early, and the next one goes on from there; a file takes its name when it equals the checksum that
the hub publishes.
"""

import os
import shutil
import time
from pathlib import Path

from tokenscope.cards.weights_files import is_index, shards
from tokenscope.errors import StudyError
from tokenscope.jobs.job import log
from tokenscope.jobs.leases import lock
from tokenscope.jobs.network import why
from tokenscope.stores.receipts import read_receipt, sha256_file, sha256_files, write_receipt

FILES = ("model.safetensors", "pytorch_model.bin")  # as timm names them, in this order
NOTE = "hub.json"  # beside the weights: repository, revision, checksum, licence
FREE = {"mit", "apache-2.0"}  # licences that ask for no second look


def fetch(repo: str, folder: Path, name: str = "") -> Path:
    """Download the weights of a repository into a folder, with a note of what they are.

    Must run before tokenscope.backbones.loading is imported, which forbids the network.

    Args:
        name: of the weights file, or of an index, whose shards come with it; else timm's.

    Raises:
        StudyError: the reason, as a part of a sentence: what the hub answered, a quota, no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HTTPError

    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=60)
        held = {file.rfilename: file for file in info.siblings or []}
        wanted = (name,) if name else FILES
        name = next((name for name in wanted if name in held), "")
        if not name:
            raise StudyError(f"{repo} holds none of the files {' and '.join(wanted)}")
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / name
        held_lock = _wait(folder / ".lock")
        try:
            if target.is_file():
                return target  # of another job, meanwhile
            part = _arrived(repo, info.sha, held[name], folder)
            files = [part]
            for shard in shards(part) if is_index(name) else ():
                if shard not in held:
                    raise StudyError(f"{repo} lacks {shard}, which its {name} names")
                if not (folder / shard).is_file():
                    os.replace(_arrived(repo, info.sha, held[shard], folder), folder / shard)
                files.append(folder / shard)
            licence = getattr(info.card_data, "license", None) or ""
            write_receipt(
                folder / NOTE, repository=repo, revision=info.sha or "", file=name,
                sha256=sha256_files(files), licence=licence,
            )  # fmt: skip
            os.replace(part, target)  # an index last: it says that all is there
        finally:
            os.close(held_lock)
    except GatedRepoError:
        raise StudyError(
            f"{repo} asks you to accept a licence: do so on the hub, then export HF_TOKEN"
        ) from None
    except (HTTPError, OSError) as error:
        raise StudyError(why(error, f"the hub ({repo})", folder)) from None
    return target


def _arrived(repo: str, revision: str | None, held, folder: Path) -> Path:
    """One file of a repository under a name for parts, whole and equal to what is published."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    name, size, published = held.rfilename, held.size or 0, held.lfs.sha256 if held.lfs else ""
    part = folder / f".{name}.{(revision or '')[:12]}.part"
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
        log.info("goes on with %s of %s at %d of %d MB", name, repo, begun >> 20, size >> 20)
    url = hf_hub_url(repo, name, revision=revision)
    if begun < size or not size:
        with open(part, "ab") as out:
            http_get(url, out, resume_size=begun, headers=build_hf_headers(), expected_size=size)
    if published and sha256_file(part) != published:
        part.unlink()
        raise StudyError(f"{name} of {repo} has arrived damaged: run again")
    return part


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
