"""What went wrong with a download, as it is: the answer of a server, a quota, or no network."""

import errno
import platform
from collections.abc import Iterator
from urllib.request import getproxies

FULL = {
    errno.EDQUOT: "your quota is used up there",
    errno.ENOSPC: "the disk is full",
}
ANSWERS = {
    401: "it wants a token, or knows no such file: export HF_TOKEN with one of your account",
    403: "the token in HF_TOKEN may not read it, or this address is refused",
    404: "there is no such file",
    429: (
        "too many requests from this address: export HF_TOKEN (accounts have a limit of their "
        "own), or wait a while"
    ),
}


def why(error: BaseException, source: str, folder: object) -> str:
    """Why what ``source`` names did not arrive in ``folder``, with what to do; no full stop.

    Args:
        error: of a client of HTTP, or of the file system.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in FULL:
            return (
                f"{FULL[one.errno]} ({folder}, errno {one.errno}): make room, or name another "
                "folder in the study's config (weights: cache)"
            )
    for one in _chain(error):
        response = getattr(one, "response", None)
        status = getattr(response, "status_code", None) or getattr(one, "code", None)
        if isinstance(status, int):
            headers = getattr(response, "headers", None) or getattr(one, "headers", None) or {}
            seconds = headers.get("Retry-After")
            wait = f" ({seconds} s)" if seconds and status == 429 else ""
            known = ANSWERS.get(status, "try again later")
            return f"{source} answered {status}: {known}{wait}"
        if "Offline" in type(one).__name__:
            return "HF_HUB_OFFLINE is set: unset it where there is a network"
    text = next((str(one).splitlines()[0] for one in _chain(error) if str(one)), "")
    told = f"({text or type(error).__name__})"
    if "CERTIFICATE_VERIFY_FAILED" in "".join(map(str, _chain(error))):
        return (
            f"{source} shows a certificate that is not trusted here {told}: where a site's proxy "
            "signs with its own, export SSL_CERT_FILE=<its certificates>"
        )
    if proxy := proxy_of("https"):
        return (
            f"{source} cannot be reached by the proxy {proxy} that HTTPS_PROXY names {told}: ask "
            "the site for the right one, or unset it where there is a network without"
        )
    return (
        f"{source} cannot be reached from {platform.node()} {told}: `make weights` obtains all of "
        "a study beforehand, where there is a network; behind a proxy export HTTPS_PROXY"
    )


def proxy_of(scheme: str) -> str:
    """The proxy of the environment, without a password; empty where none is named."""
    found = getproxies()
    return (found.get(scheme) or found.get("all") or "").rpartition("@")[2]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
