"""Weights from a pretended hub: whole, noted, resumed, and each refusal told as it is."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from projects import ROOT

from tokenscope.backbones import hub
from tokenscope.errors import StudyError
from tokenscope.jobs.network import why
from tokenscope.stores.receipts import sha256_weights

REPO, FILE, REVISION = "timm/vit", "model.safetensors", "0123456789abcdef" * 2 + "01234567"
CONTENT = bytes(range(256)) * 4000  # a megabyte


class Hub(BaseHTTPRequestHandler):
    """One repository; ``server.status`` is that of all answers."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range", "")))
        if server.status != 200:
            self.answer(server.status, b"no", {"Retry-After": "60"})
        elif self.path.startswith("/api/models/"):
            lfs = {"sha256": server.published, "size": len(CONTENT), "pointerSize": 1}
            one = {"rfilename": server.file, "size": len(CONTENT), "blobId": "b", "lfs": lfs}
            more = [
                {"rfilename": name, "size": len(content), "blobId": name}
                for name, content in server.more.items()
            ]
            card = {"license": "dinov3-license"}
            answer = {"id": REPO, "sha": REVISION, "siblings": [one, *more], "cardData": card}
            self.answer(200, json.dumps(answer).encode(), {})
        else:
            start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
            content = server.more.get(self.path.rpartition("/")[2], CONTENT)
            self.answer(206 if start else 200, content[start:], {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    import huggingface_hub.constants as constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.status, server.asked, server.more = 200, [], {}
    server.file, server.published = FILE, sha256(CONTENT).hexdigest()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield server
    server.shutdown()
    server.server_close()


def test_weights_arrive_in_the_cache_alone_with_a_note_of_what_they_are(server, tmp_path):
    file = hub.fetch(REPO, tmp_path / "vit")
    assert file.read_bytes() == CONTENT
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {FILE, "hub.json", ".lock"}
    noted = hub.noted(file, sha256(CONTENT).hexdigest())
    licence = "dinov3-license"
    assert noted == {"repository": REPO, "revision": REVISION, "licence": licence}
    assert hub.fetch(REPO, tmp_path / "vit") == file
    assert len([path for path, _ in server.asked if "resolve" in path]) == 1
    with pytest.raises(StudyError, match="has changed since it was downloaded"):
        hub.noted(file, sha256(b"other").hexdigest())


def test_a_download_goes_on_from_what_is_there(server, tmp_path):
    (tmp_path / f".{FILE}.{REVISION[:12]}.part").write_bytes(CONTENT[:1000])
    assert hub.fetch(REPO, tmp_path).read_bytes() == CONTENT
    assert server.asked[-1][1].startswith("bytes=1000-")
    # What does not add up to the published file is not taken, nor gone on with.
    (tmp_path / FILE).unlink()
    (tmp_path / f".{FILE}.{REVISION[:12]}.part").write_bytes(b"x" * 1000)
    with pytest.raises(StudyError, match="arrived damaged: run again"):
        hub.fetch(REPO, tmp_path)
    assert hub.fetch(REPO, tmp_path).read_bytes() == CONTENT


def test_shards_arrive_with_their_index_which_comes_last(server, tmp_path, monkeypatch):
    index = "model.safetensors.index.json"
    names = {"a": "model-1-of-2.safetensors", "b": FILE, "c": "model-1-of-2.safetensors"}
    server.more = {index: json.dumps({"weight_map": names}).encode()}
    with pytest.raises(StudyError, match=f"{REPO} lacks model-1-of-2.safetensors, which its .*ind"):
        hub.fetch(REPO, tmp_path, index)
    assert not (tmp_path / index).exists()
    server.more["model-1-of-2.safetensors"] = b"one"
    assert hub.fetch(REPO, tmp_path, index) == tmp_path / index
    assert (tmp_path / FILE).read_bytes() == CONTENT
    checksum = sha256_weights(tmp_path / index)
    assert hub.noted(tmp_path / index, checksum)["repository"] == REPO
    (tmp_path / "model-1-of-2.safetensors").write_bytes(b"two")
    with pytest.raises(StudyError, match="has changed since it was downloaded"):
        hub.noted(tmp_path / index, sha256_weights(tmp_path / index))


REFUSALS = {
    401: "wants a token",
    403: "HF_TOKEN may not read it",
    404: "no such file",
    429: r"HF_TOKEN.*or wait a while \(60 s\)",
    503: "try again later",
}


@pytest.mark.parametrize("status", REFUSALS)
def test_an_answer_of_the_hub_is_told_as_it_is(server, tmp_path, status):
    server.status = status
    with pytest.raises(StudyError, match=rf"{REPO}.*{status}.*{REFUSALS[status]}"):
        hub.fetch(REPO, tmp_path)


def test_other_reasons(server, tmp_path, monkeypatch):
    server.file = "flax_model.msgpack"
    with pytest.raises(StudyError, match="holds none of the files model.safetensors"):
        hub.fetch(REPO, tmp_path)
    server.file = FILE
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(StudyError, match="has room for 0.0 GB: name another folder"):
        hub.fetch(REPO, tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(StudyError, match="cannot be reached from .*make weights"):
        hub.fetch(REPO, tmp_path)


@pytest.mark.parametrize(
    "number, said", [(errno.EDQUOT, "your quota is used up"), (errno.ENOSPC, "the disk is full")]
)
def test_a_full_quota_is_no_lack_of_network(number, said):
    try:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as inner:
            raise RuntimeError("the client gave up") from inner
    except RuntimeError as error:
        assert said in why(error, "the hub", "/home/me") and "weights: cache" in why(error, "", "")


def test_a_site_s_proxy_is_named_where_it_stands_in_the_way(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    refused = OSError("Tunnel connection failed: 403 Forbidden")
    assert "behind a proxy export HTTPS_PROXY" in why(refused, "the hub", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    said = why(refused, "the hub", "")
    assert "by the proxy proxy.example:3128" in said and "secret" not in said
    signed = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    assert "SSL_CERT_FILE" in why(signed, "the hub", "")


def test_the_way_to_the_hub_leads_by_the_proxy(monkeypatch):
    """What a node tells of its network, with a door that is open and one that is not."""
    import huggingface_hub.constants as constants

    from tokenscope.acceptance.node import network

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as door:
        address = f"127.0.0.1:{door.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://{address}")
        said = network()
        assert said.kept and said.text.endswith(f"can be reached by the proxy {address}")
    said = network()
    assert said.kept is None and f"by the proxy {address}" in said.text


OBTAIN = """
import json, sys
sys.path.insert(0, "workflow_scripts")
spec, weights, folder, download, cache, card = json.loads(sys.argv[1])
import runpy
obtain = runpy.run_path("workflow_scripts/backbones/obtain.py")
obtain["main"](spec, weights, folder, download, cache, card)
"""


@pytest.mark.slow
def test_once_obtained_weights_need_no_network(tmp_path):
    """The rule's own script, where no address can be reached: from the cache, with its revision."""
    import torch
    from safetensors.torch import save_file

    from tokenscope.backbones.loading import create

    timm_id = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    spec = {"name": "augreg/tiny/r0", "timm_id": timm_id, "registers": 0, "model": {"depth": 1}}
    file = tmp_path / "cache" / timm_id / FILE
    file.parent.mkdir(parents=True)
    with torch.device("cpu"):
        save_file(create(spec).state_dict(), file)
    note = {"file": FILE, "sha256": sha256(file.read_bytes()).hexdigest(), "licence": "mit"}
    note |= {"repository": REPO, "revision": REVISION}
    (file.parent / "hub.json").write_text(json.dumps(note))

    card = tmp_path / "card.json"
    arguments = json.dumps([spec, "", None, True, str(tmp_path / "cache"), str(card)])
    alone = ["unshare", "-rn"]  # a network namespace without routes, where that is allowed
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        alone = ["env", "HF_HUB_OFFLINE=1"]
    command = [*alone, sys.executable, "-c", OBTAIN, arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(card.read_text())
    assert said["origin"] == "cache" and said["revision"] == REVISION
    assert said["weights"] == str(file) and said["sha256"] == note["sha256"]
