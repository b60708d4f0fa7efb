"""Training: deterministic, resumed to the bit, shared without a difference; refusals in words."""

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from tokenscope.backbones.registers import add_registers, freeze
from tokenscope.errors import StudyError
from tokenscope.images.geometry import Geometry
from tokenscope.images.location import ImageLocation
from tokenscope.jobs.job import Interrupted, StopRequest
from tokenscope.study import recipes
from tokenscope.training.batches import Files, Memory, UpdatePlan
from tokenscope.training.losses import features_and_norm, patch_segments
from tokenscope.training.trainer import Callbacks, Trainer

RECIPE = {
    "epochs": 2, "batch_size": 8, "lr": 1.0e-3, "weight_decay": 0.05, "warmup": 0.1,
    "validation": 0.2,
}  # fmt: skip
SCALE = ((0.5,) * 3, (0.5,) * 3)
torch.set_num_threads(1)  # models this small only wait for each other's threads
PROGRAM = Path("tests/helpers/slow_training.py")


def model(registers=1):
    torch.manual_seed(0)
    net = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=2, num_heads=2,
        num_classes=2,
    )  # fmt: skip
    return add_registers(net, registers)


def data(images=60):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, images)
    pixels = rng.integers(0, 80, (images, 16, 16, 3), dtype=np.uint8)
    pixels[labels == 1] += 120
    return Memory(pixels, labels)


def train(net, source=None, **changes):
    recipe = recipes.training("test", {**RECIPE, **changes})
    return Trainer(net, source or data(), recipe, *SCALE).run()


def test_learns_and_repeats():
    runs = []
    for _ in range(2):
        net = model()
        history = train(net, epochs=12)
        runs.append((history, net.state_dict()))
    (first, weights), (second, repeated) = runs
    assert first == second
    assert all(torch.equal(weights[k], repeated[k]) for k in weights)
    assert first[-1]["loss"] < first[0]["loss"] and first[-1]["top1"] == 100


def test_norm_penalty_lowers_norms():
    free, held = model(), model()
    train(free, epochs=12, lr=5.0e-3)
    train(held, epochs=12, lr=5.0e-3, norm_penalty=1.0)
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert features_and_norm(held, x)[1] < 0.8 * features_and_norm(free, x)[1]


def test_penalty_pulls_on_patches_only():
    net = model(registers=2)
    tokens = {}
    hook = net.blocks[-1].register_forward_hook(
        lambda _m, _i, out: (out.retain_grad(), tokens.update(out=out))[0]
    )
    _, norm = features_and_norm(net, torch.randn(2, 3, 16, 16))
    norm.backward()
    hook.remove()
    gradient = tokens["out"].grad
    assert torch.all(gradient[:, :3] == 0) and torch.all(gradient[:, 3:].norm(dim=-1) > 0)


def test_the_published_schedules_of_lambda():
    weight = lambda schedule, epoch: recipes.penalty_weight(  # noqa: E731
        recipes.training("t", {**RECIPE, "norm_penalty": 0.1, "penalty_schedule": schedule}), epoch
    )
    assert weight("constant", 15) == weight("step", 9) == weight("inverse", 0) == 0.1
    assert weight("step", 10) == 0 and weight("inverse", 4) == pytest.approx(0.02)
    assert weight("power", 9) == 0.1 and weight("power", 10) == pytest.approx(0.01)
    assert weight("soft_power", 5) == pytest.approx(0.1**1.5)
    assert weight("cosine", 5) == pytest.approx(0.1 * 2**-0.5) and weight("cosine", 10) == 0.1


def test_frozen_stays_frozen():
    net = model(registers=2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    freeze(net, 1)
    train(net, ema=0.5)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    still = {k for k in before if k.startswith(("patch_embed", "blocks.0"))}
    assert changed == set(before) - still and {"reg_token", "cls_token"} <= changed


def test_near_its_time_limit_it_saves_and_the_next_attempt_goes_on(monkeypatch):
    whole = model()
    history = train(whole)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 100))
    stop, saved = StopRequest(margin=120), {}

    def keep(state, reason):
        saved.update(copy.deepcopy(state), reason=reason)
        raise Interrupted(reason)

    recipe = recipes.training("test", RECIPE)
    with pytest.raises(Interrupted, match="the time limit is near"):
        Trainer(model(), data(), recipe, *SCALE).run(Callbacks(stop=stop, keep=keep))
    assert saved["done"] == 1 and saved["reason"] == "the time limit is near"
    successor = Trainer(resumed := model(), data(), recipe, *SCALE, state=saved)
    assert successor.run() == history
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())


def run_program(folder, delay=0, kill_after=None, processes=1):
    command = [sys.executable, str(PROGRAM), str(folder), str(delay)]
    if processes > 1:
        command[1:1] = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
        ]
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": "workflow_scripts", "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    steps = folder / "steps"
    while kill_after is not None and running.poll() is None:
        if steps.exists() and len(steps.read_text().split()) >= kill_after:
            running.send_signal(signal.SIGKILL)
        time.sleep(0.003)
    message = running.communicate()[1]
    assert running.returncode == (0 if kill_after is None else -signal.SIGKILL), message
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_program(tmp_path_factory.mktemp("undisturbed"))


def same(a, b):
    a, b = load_file(a), load_file(b)
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_weights(undisturbed, tmp_path):
    """kill -9 twice in the middle, once while a checkpoint may be half written: no bit differs."""
    folder = run_program(tmp_path, 0.02, kill_after=4)
    torn = next((folder / "partial").iterdir()) / ".checkpoint.pt"
    torn.write_bytes(b"half a checkpoint")
    run_program(folder, 0.02, kill_after=11)
    run_program(folder)
    steps = [int(s) for s in (folder / "steps").read_text().split()]
    assert steps[-1] == 18 and len(steps) > 18 - 3  # it did go on, not start anew
    assert sum(s == 1 for s in steps) == 1
    assert (folder / "history.csv").read_text() == (undisturbed / "history.csv").read_text()
    assert same(folder / "weights.safetensors", undisturbed / "weights.safetensors")
    for file in sorted((undisturbed / "snapshots").iterdir()):
        assert same(file, folder / "snapshots" / file.name)


@pytest.mark.slow
def test_two_processes_train_as_one(undisturbed, tmp_path):
    """Sharing the micro-batches changes nothing but the order of sums."""
    folder = run_program(tmp_path / "two", processes=2)
    single, double = (pd.read_csv(f / "history.csv") for f in (undisturbed, folder))
    np.testing.assert_allclose(double["loss"], single["loss"], rtol=1e-4)
    np.testing.assert_allclose(double["patch_norm"], single["patch_norm"], rtol=1e-4)
    a, b = (load_file(f / "weights.safetensors") for f in (undisturbed, folder))
    assert all(torch.allclose(a[k], b[k], atol=2e-4) for k in a)


def test_the_batch_does_not_depend_on_who_computes_it():
    recipe = recipes.training("t", {**RECIPE, "micro_batch": 2, "repeats": 3})
    parts = [list(UpdatePlan(recipe, list(range(40)), rank, 2).keys(3)) for rank in range(2)]
    whole = list(UpdatePlan(recipe, list(range(40))).keys(3))
    assert [key for pair in zip(*parts, strict=True) for key in pair] == whole
    epoch = [
        image
        for keys in list(UpdatePlan(recipe, list(range(40))).keys(0))[:20]
        for *_, image in keys
    ]
    assert len(epoch) == 40 and max(map(epoch.count, epoch)) == 3
    with pytest.raises(StudyError, match="makes 4 parts, which 3 devices"):
        UpdatePlan(recipe, list(range(40)), 0, 3)


def test_augmented_files_do_not_depend_on_workers(tmp_path):
    """timm's augmentation of an image hangs on its place in the epoch, not on who decodes it."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(16)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    plan = UpdatePlan(
        recipes.training("t", {**RECIPE, "augment": {"auto_augment": "3a", "color_jitter": 0.3}}),
        list(range(16)),
    )
    geometry = Geometry.evaluation(32, 0.9, "bicubic")
    paths = [ImageLocation(str(path)) for path in paths]
    sources = [Files(paths, np.arange(16) % 2, geometry, workers) for workers in (0, 2)]
    pixels, parallel = ([b.pixels for b in source.training(plan, 0)] for source in sources)
    assert len(pixels) == plan.total == 4 and pixels[0].shape == (8, 32, 32, 3)
    assert all(torch.equal(a, b) for a, b in zip(pixels, parallel, strict=True))
    late = [b.pixels for b in sources[0].training(plan, 3)]
    assert torch.equal(late[0], pixels[3]) and not torch.equal(pixels[0], pixels[2])
    history = train(model(), Files(paths, np.arange(16) % 2, Geometry(16, 16), 0), lr=1.0e-4,
                    augment={"hflip": 0.5}, validation=0.25)  # fmt: skip
    assert np.isfinite(history[-1]["loss"]) and history[-1]["top1"] >= 0


def test_patch_segments_take_the_majority():
    segmentation = np.zeros((1, 4, 4), np.uint8)
    segmentation[0, :2, :2] = [[3, 3], [3, 1]]
    segmentation[0, 2:, 2:] = 2
    assert patch_segments(segmentation, (2, 2)).tolist() == [[3, 0, 0, 2]]
    with pytest.raises(StudyError, match="no whole cells"):
        patch_segments(segmentation, (3, 3))


def test_patch_labels_follow_the_mirrored_image():
    segments = np.arange(2 * 2 * 60).reshape(60, 2, 2) % 5
    pixels = np.repeat(np.repeat(segments, 8, 1), 8, 2)[..., None].repeat(3, -1).astype(np.uint8)
    source = Memory(pixels, np.zeros(60, int), segments)
    plan = UpdatePlan(recipes.training("t", {**RECIPE, "token_labels": 1.0}), list(range(60)))
    for batch in source.training(plan, 0):
        assert torch.equal(batch.pixels[:, ::8, ::8, 0].long(), batch.segments)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"learning_rate": 1.0}, "no key 'learning_rate'; closest"),
        ({"lr": "1e-3"}, "YAML reads 1e-3 as text"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"micro_batch": 3}, "multiple of micro_batch"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"token_labels": 1.0, "augment": {"hflip": 0.5}}, "decoded pixels"),
        ({"publish": "ema"}, "publish must be"),
        ({"augment": {"re_prob": 0.2}}, "re_prob is not available"),
    ],
)
def test_mistakes_in_a_recipe_are_said_in_a_sentence(changes, message):
    with pytest.raises(StudyError, match=message):
        recipes.training("mine", {**RECIPE, **changes})


def test_what_does_not_fit_is_refused():
    source = data()
    with pytest.raises(StudyError, match="the model has 2 classes"):
        train(model(), Memory(source.pixels.numpy(), source.labels.numpy() + 1))
    with pytest.raises(StudyError, match="token_labels needs"):
        train(model(), token_labels=1.0)
    with pytest.raises(StudyError, match="fewer than one batch"):
        train(model(), Memory(source.pixels[:6].numpy(), source.labels[:6].numpy()))
    with pytest.raises(StudyError, match="lower the lr"):
        train(model(), lr=1.0e30, epochs=3)
    with pytest.raises(StudyError, match="the training has 12"):
        train(model(), snapshots=[50])
    with pytest.raises(StudyError, match="timm refuses"):
        train(model(), optimizer="nosuch")
