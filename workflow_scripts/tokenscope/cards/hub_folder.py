"""Models of the hub by their id, ``org/name``: what they say of themselves, and their weights.

What is in the local cache of the hub's own client is taken from there, without network. Else the
small configs are fetched at once, into ``<cache>/hub/org/name``, and a row names the weights file
beside them; the rule that obtains weights fetches it when it is wanted.
"""

import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tokenscope.cards import model_folder, weights_files
from tokenscope.cards.model_folder import WEIGHTS
from tokenscope.errors import StudyError

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
IMAGES = "preprocessor_config.json"
NOTE = "weights"  # beside configs that were fetched: name of the weights that are wanted
PATIENCE = 5  # seconds until the hub counts as not to be reached


def repo_of(weights: str, cache: str | Path) -> str:
    """The id of the model that a weights file is fetched from; empty for any other file."""
    try:
        parts = Path(weights).relative_to(Path(cache, "hub")).parts
    except ValueError:
        return ""
    return "/".join(parts[:2]) if len(parts) == 3 else ""


def weights_of(repo: str, cache: str | Path) -> str:
    """Weights file of a model of the hub, with its configs beside it; it need not be here yet.

    Raises:
        StudyError: it is not in a cache, and the hub cannot be reached, does not have it, asks for
            a licence, or holds no config or no weights that could be read.
    """
    found = kept(repo)
    if found and Path(found).with_name(model_folder.config_of(found)).is_file():
        return found
    folder = Path(cache, "hub", repo)
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    config, weights = model_folder.chosen(names)
    if config:
        noted = folder / NOTE
        return str(folder / (weights or (noted.read_text() if NOTE in names else WEIGHTS[0])))
    held = _listed(repo)
    config, weights = model_folder.chosen(held)
    if not config:
        raise StudyError(
            f"'{repo}' on the hub has no {' or '.join(model_folder.CONFIGS)}: fetch its weights, "
            "say their ARCH"
        )
    if not weights:
        raise StudyError(f"'{repo}' on the hub has no weights file {', '.join(WEIGHTS)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTE).write_text(weights)
    for name in (IMAGES, config):  # the one that says the folder is whole comes last
        if name in held:
            _fetch(repo, name, folder / name)
    return str(folder / weights)


def kept(repo: str) -> str:
    """Weights file in the cache of the hub's own client; empty where there is none."""
    return next((file for name in WEIGHTS if _whole(file := _cached(repo, name))), "")


def _whole(weights: str) -> bool:
    """Whether a file is there, and of an index all its shards."""
    return bool(weights) and all(file.is_file() for file in weights_files.files_of(weights))


def _cached(repo: str, name: str) -> str:
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repo, name, cache_dir=constants.HF_HUB_CACHE)
    return found if isinstance(found, str) else ""


def why_not(repo: str) -> str:
    """Why weights cannot be fetched from here at all; empty where they may be."""
    from huggingface_hub import constants

    if kept(repo):
        return ""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, so that the hub is not asked"
    why = _unreachable(constants.ENDPOINT)  # its client would try for half a minute
    return why and f"the hub cannot be reached from here ({why})"


def _listed(repo: str) -> list[str]:
    from huggingface_hub import HfApi

    return _asked(repo, lambda: HfApi().list_repo_files(repo))


def _fetch(repo: str, name: str, target: Path) -> None:
    """One small file; it appears whole."""
    from huggingface_hub import hf_hub_download

    fetched = _asked(repo, lambda: hf_hub_download(repo, name))
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(fetched, aside)
    os.replace(aside, target)


def _asked(repo: str, ask):
    """What the hub answers; where it gives none, a StudyError that says why."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if why := why_not(repo):
        raise StudyError(why)
    try:
        return ask()
    except GatedRepoError:
        raise StudyError(
            f"'{repo}' asks you to accept a licence: do so on the hub, then set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise StudyError(f"the hub has no '{repo}', or not for you (HF_TOKEN)") from None
    except OSError as error:
        raise StudyError(f"the hub gives no answer ({type(error).__name__})") from None


def _unreachable(endpoint: str) -> str:
    """Why an address does not answer; empty where it does, whatever it says."""
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE)
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return ""
