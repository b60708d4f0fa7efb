"""Models of the hub: from a cache without network, or fetched; and why not, in a sentence."""

import json
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants as constants
import pytest
from backbones import obtain
from huggingface_hub.errors import GatedRepoError, RemoteEntryNotFoundError, RepositoryNotFoundError

from tokenscope.cards import hub_folder
from tokenscope.diagnosis import setup
from tokenscope.errors import StudyError

CARD = json.dumps({"model_type": "vit", "hidden_size": 48, "num_attention_heads": 3})
REPO = "someone/my-vit"
SPEC = {"name": "mine/my-vit/r0", "timm_id": "vit_base_patch16_224"}


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_folder, "_unreachable", lambda endpoint: "")


def fake_hub(tmp_path, monkeypatch, *names, refusal=None):
    """A hub that holds files of these names, or refuses."""
    asked = []

    def fetched(repo, name):
        asked.append(name)
        if refusal:
            raise refusal
        if name not in names:
            raise error_of(RemoteEntryNotFoundError)
        (tmp_path / "hub").mkdir(exist_ok=True)
        (tmp_path / "hub" / name).write_text(CARD if name == "config.json" else name)
        return str(tmp_path / "hub" / name)

    def listed(self, repo):
        if isinstance(refusal, RepositoryNotFoundError) and not isinstance(refusal, GatedRepoError):
            raise refusal
        return list(names)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", listed)
    return asked


def error_of(kind):
    return kind.__new__(kind)


def test_what_the_hubs_client_keeps_is_taken_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr(
        hub_folder, "_unreachable", lambda endpoint: pytest.fail("the hub was asked")
    )
    snapshot = tmp_path / "kept" / "models--someone--my-vit" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(CARD)
    (snapshot / "pytorch_model.bin").touch()
    model = setup.Model.of(REPO, cache=str(tmp_path / "cache"))
    assert model.weights == str(snapshot / "pytorch_model.bin") and model.name == "my-vit"
    assert model.timm_id == "vit_base_patch16_224"


def test_shards_that_the_client_keeps_count_when_all_are_there(tmp_path):
    snapshot = tmp_path / "kept" / "models--someone--my-vit" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    (snapshot / "1.safetensors").touch()
    assert hub_folder.kept(REPO) == ""
    (snapshot / "2.safetensors").touch()
    assert hub_folder.kept(REPO) == str(index)


def test_a_model_of_open_clip_is_fetched_with_its_own_config(tmp_path, monkeypatch):
    config = "open_clip_config.json"
    asked = fake_hub(tmp_path, monkeypatch, config, "open_clip_pytorch_model.bin")
    assert hub_folder.weights_of(REPO, tmp_path / "cache").endswith("open_clip_pytorch_model.bin")
    assert asked == [config]
    assert hub_folder.weights_of(REPO, tmp_path / "cache").endswith("open_clip_pytorch_model.bin")


def test_configs_come_at_once_and_weights_when_they_are_wanted(tmp_path, monkeypatch):
    asked = fake_hub(tmp_path, monkeypatch, "config.json", "README.md", "pytorch_model.bin")
    cache = str(tmp_path / "cache")
    model = setup.Model.of(f"hf-hub:{REPO}", cache=cache)
    assert asked == ["config.json"] and model.name == "my-vit"
    assert model.weights == f"{cache}/hub/{REPO}/pytorch_model.bin"
    assert hub_folder.repo_of(model.weights, cache) == REPO
    assert setup.Model.of(REPO, cache=cache) == model and asked == ["config.json"]
    assert obtain.find(SPEC, model.weights, None, cache) == (None, "")
    monkeypatch.setattr(
        obtain.hub, "fetch", lambda repo, folder, name: folder / f"{name} of {repo}"
    )
    fetched = obtain.fetch(SPEC, model.weights, None, cache)
    assert fetched == Path(model.weights).parent / f"pytorch_model.bin of {REPO}"
    Path(model.weights).touch()
    assert obtain.find(SPEC, model.weights, None, cache) == (Path(model.weights), "cache")


@pytest.mark.parametrize(
    ("names", "refusal", "said"),
    [
        (("pytorch_model.bin",), None, "has no config.json"),
        (("config.json", "open_clip.bin"), None, "has no weights file model.safetensors, "),
        (("config.json", "model.safetensors"), GatedRepoError, "accept a licence.*HF_TOKEN"),
        ((), RepositoryNotFoundError, "the hub has no 'someone/my-vit', or not for you"),
        (("config.json", "model.safetensors"), ConnectionError, "gives no answer .Connection"),
    ],
)
def test_what_the_hub_does_not_give_is_said(tmp_path, monkeypatch, names, refusal, said):
    fake_hub(tmp_path, monkeypatch, *names, refusal=refusal and error_of(refusal))
    with pytest.raises(StudyError, match=f"no file or folder 'someone/my-vit'.*{said}"):
        setup.Model.of(REPO, cache=str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("config.json"))


def test_without_network_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # none listens
    with pytest.raises(StudyError, match="cannot be reached from here .*refused"):
        setup.Model.of(REPO, cache=str(tmp_path))
    fetched = f"{tmp_path}/hub/{REPO}/model.safetensors"
    with pytest.raises(StudyError, match=f"mine/my-vit/r0: no weights of {REPO}: .*hub"):
        obtain.fetch(SPEC, fetched, None, str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match="HF_HUB_OFFLINE is set"):
        setup.Model.of(REPO, cache=str(tmp_path))
    row = {"timm_id": "vit_tiny_patch16_224.x", "weights": ""}
    with pytest.raises(StudyError, match="no weights of vit_tiny.*OFFLINE.*WEIGHTS="):
        setup.check_weights([row], [], None, str(tmp_path))
