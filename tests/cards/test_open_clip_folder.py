"""Folders as open_clip writes them: the tower of images read as open_clip computes it.

Half of the tests need the library open_clip, which the study itself does not; without it they are
skipped, and towers that timm has as well are compared under open_clip's names.
"""

import importlib
import importlib.util
import json

import pytest
import timm
import torch
from model_folders import apart, blocks_of, row_of, shaken
from safetensors.torch import save_file

from tokenscope.backbones.loading import open_backbone
from tokenscope.cards import model_folder, open_clip_folder
from tokenscope.errors import StudyError
from tokenscope.forward.hooks import TokenHooks

HERE = importlib.util.find_spec("open_clip") is not None
SIDE, PATCH = 40, 8
SMALL = {"width": 48, "head_width": 16, "layers": 3, "image_size": SIDE, "patch_size": PATCH,
         "mlp_ratio": 2.5}  # fmt: skip
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
# What model_cfg says: shapes that no released model has.
TOWERS = {
    "gelu": {"vision_cfg": SMALL},
    "quick": {"vision_cfg": SMALL, "quick_gelu": True},
    "tanh": {"vision_cfg": {**SMALL, "act_kwargs": {"approximate": "tanh"},
                            "norm_kwargs": {"eps": 1e-3}, "ls_init_value": 0.1}},
    "clipa": {"vision_cfg": {**SMALL, "no_ln_pre": True, "pool_type": "avg",
                             "final_ln_after_pool": True}},
    "mean": {"vision_cfg": {**SMALL, "pool_type": "avg"}},
    "timm": {"vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg",
                            "image_size": 224}, "custom_text": True},
    "timm-map": {"vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map",
                                "timm_proj": "none", "image_size": 160}, "custom_text": True},
}  # fmt: skip


def folder_of(path, model, weights="open_clip_model.safetensors", images=None):
    """A folder of open_clip with these settings and weights by name."""
    path.mkdir(exist_ok=True)
    said = {"model_cfg": {"embed_dim": 12, "text_cfg": TEXT, **model}, "preprocess_cfg": images}
    (path / open_clip_folder.CONFIG).write_text(json.dumps(said))
    if weights:
        (path / weights).touch()
    return path


def saved(path, kind):
    """A tower that open_clip has written with its own function; the model."""
    factory = importlib.import_module("open_clip.push_to_hf_hub")
    classes = importlib.import_module("open_clip.model")
    said = {"embed_dim": 12, "text_cfg": TEXT, **TOWERS[kind]}
    given = {key: value for key, value in said.items() if key != "custom_text"}
    torch.manual_seed(0)
    model = (classes.CustomTextCLIP if "custom_text" in said else classes.CLIP)(**given)
    model.visual.image_mean, model.visual.image_std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.2)
    tokenizer = type("Tokenizer", (), {"save_pretrained": lambda self, folder: None})()
    factory.save_for_hf(shaken(model), tokenizer, said, path, safe_serialization=True)
    return model.visual


@pytest.mark.skipif(not HERE, reason="the library open_clip is not here")
@pytest.mark.parametrize("kind", TOWERS)
def test_every_block_and_attention_row_is_that_of_open_clip(kind, tmp_path, monkeypatch):
    tower = saved(tmp_path / "net", kind)
    backbone = row_of(tmp_path / "net", tmp_path, monkeypatch)
    opened = open_backbone(backbone.spec, backbone.weights, size=backbone.arch.input_size)
    assert backbone.arch.mean == (0.5, 0.4, 0.3) and backbone.arch.crop_pct == 1
    x = torch.randn(2, 3, backbone.arch.input_size, backbone.arch.input_size)
    with torch.no_grad(), TokenHooks(opened) as observe:
        out = tower.forward_intermediates(x, output_fmt="NLC", output_extra_tokens=True)
        pairs = zip(
            out["image_intermediates_prefix"], out["image_intermediates"], strict=True
        )  # fmt: skip
        states = torch.stack([torch.cat(pair, 1) for pair in pairs], 1)
        seen = observe(x)
        assert apart(seen["norms"], states.norm(dim=-1)) < 1e-5
        assert apart(blocks_of(opened, x), states) < 1e-5
        pooled = opened.forward_head(opened.forward_features(x), pre_logits=True)
        if "timm" in kind:  # the same class on both sides
            assert apart(tower.head(pooled), tower(x)) < 1e-5
            return
        assert apart(pooled @ tower.proj, tower(x)) < 1e-5
        block = tower.transformer.resblocks[-1]
        normed = block.ln_1(states[:, -2])
        rows = block.attn(normed, normed, normed, need_weights=True)[1]
        assert apart(seen["attention"], rows[:, :1, 1:]) < 1e-5


NAMES = {
    "cls_token": "class_embedding", "pos_embed": "positional_embedding", "norm.": "ln_post.",
    "fc_norm.": "ln_post.", "patch_embed.proj": "conv1", "norm_pre": "ln_pre", "norm1": "ln_1",
    "norm2": "ln_2", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "ls1": "ls_1",
    "ls2": "ls_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "blocks.": "transformer.resblocks.",
}  # fmt: skip


def as_open_clip(state):
    """A ViT of timm under the names and in the shapes of open_clip's, beside a tower of texts."""
    out = {"logit_scale": torch.ones([]), "visual.proj": torch.ones(48, 12),
           "transformer.resblocks.0.ln_1.weight": torch.ones(4)}  # fmt: skip
    for key, value in state.items():
        for old, new in NAMES.items():
            if old not in ("norm.", "fc_norm.") or key.startswith(old):
                key = key.replace(old, new)
        value = value[0, 0] if key == "class_embedding" else value
        out[f"visual.{key}"] = value[0] if key == "positional_embedding" else value
    return out


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("quick", {"pre_norm": True, "act_layer": "quick_gelu"}),
        ("tanh", {"pre_norm": True, "act_layer": "gelu_tanh", "init_values": 0.1,
                  "norm_layer": lambda width, **_: torch.nn.LayerNorm(width, eps=1e-3)}),
        ("clipa", {"global_pool": "avg", "fc_norm": True}),
        ("mean", {"pre_norm": True, "global_pool": "avg", "fc_norm": False}),
    ],
)  # fmt: skip
def test_a_tower_is_opened_as_what_its_config_says(kind, arguments, tmp_path, monkeypatch):
    torch.manual_seed(0)
    usual = {"norm_layer": lambda width, **_: torch.nn.LayerNorm(width, eps=1e-5)}
    own = timm.models.VisionTransformer(
        SIDE, PATCH, embed_dim=48, num_heads=3, depth=3, mlp_ratio=2.5, num_classes=0,
        **{**usual, **arguments},
    )  # fmt: skip
    shaken(own)
    if own.patch_embed.proj.bias is not None:
        torch.nn.init.zeros_(own.patch_embed.proj.bias)  # open_clip has none
    state = own.state_dict()
    state.pop("patch_embed.proj.bias", None)
    folder = folder_of(tmp_path / "net", TOWERS[kind], images={"interpolation": "random"})
    save_file(as_open_clip(state), folder / "open_clip_model.safetensors")
    backbone = row_of(folder, tmp_path, monkeypatch)
    assert backbone.size == "net" and backbone.arch.interpolation == "bicubic"
    opened, x = open_backbone(backbone.spec, backbone.weights), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        features = own.forward_features(x)
        assert apart(opened.forward_features(x), features) < 1e-6
        assert apart(opened.forward_head(features), own.forward_head(features)) < 1e-6


def test_a_tower_of_timm_is_pooled_apart_from_its_norms(tmp_path, monkeypatch):
    torch.manual_seed(0)
    own = shaken(timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64))
    model = {
        "vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "image_size": 64}
    }  # avg, linear
    folder = folder_of(tmp_path / "net", model)
    state = {f"visual.trunk.{key}": value for key, value in own.state_dict().items()}
    state |= {"visual.head.proj.weight": torch.ones(12, 192), "text.ln_final.bias": torch.ones(4)}
    save_file(state, folder / "open_clip_model.safetensors")
    backbone = row_of(folder, tmp_path, monkeypatch)
    opened, x = open_backbone(backbone.spec, backbone.weights), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = own.forward_features(x)
        pooled = features[:, own.num_prefix_tokens :].mean(1)  # after the norm, as it was trained
        assert torch.equal(opened.forward_features(x), features)
        assert apart(opened.forward_head(features, pre_logits=True), pooled) < 1e-6


def test_the_config_that_has_weights_is_followed(tmp_path):
    folder = folder_of(tmp_path, {"vision_cfg": SMALL})
    (folder / "config.json").write_text('{"model_type": "bert"}')
    card = model_folder.read(folder)
    assert card.architecture == "vit_base_patch32_clip_224.laion2b"
    assert card.arguments["num_heads"] == 3 and card.data["crop_mode"] == "center"
    weights = model_folder.weights_file(folder)
    assert weights.endswith("open_clip_model.safetensors")
    assert model_folder.beside(weights, card.architecture) == card
    assert model_folder.beside(weights, "vit_base_patch16_224") is None
    (folder / "model.safetensors").touch()
    with pytest.raises(StudyError, match="model_type 'bert' cannot be converted"):
        model_folder.read(folder)


@pytest.mark.parametrize(
    ("vision", "said"),
    [
        ({"attentional_pool": True}, "none of timm's: attentional_pool in vision_cfg has no equal"),
        ({"qk_norm": True, "scale_fc": True}, "qk_norm, scale_fc in vision_cfg"),
        ({"layers": [3, 4, 6, 3]}, "is a ResNet, not a Vision Transformer"),
        ({"head_width": 100}, "width 768 cannot be cut into heads of 100"),
        ({"image_size": [224, 192]}, "image_size is .224, 192., no whole number"),
        ({"act_kwargs": {"alpha": 2}}, "act_kwargs is .*, only .*tanh"),
        ({"norm_kwargs": {"bias": False}}, "norm_kwargs is .*, only eps"),
        ({"pool_type": "none"}, "pool_type is 'none', neither"),
        ({"timm_model_name": "x", "timm_pool": "abs_attn"}, "pools a map of a convolutional"),
        (7, "no model_cfg with a vision_cfg"),
    ],
)
def test_towers_that_are_refused(vision, said, tmp_path):
    folder_of(tmp_path, {"vision_cfg": vision})
    with pytest.raises(StudyError, match=said):
        model_folder.read(tmp_path)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"resize_mode": "longest"}, "resize_mode is 'longest'; .* shortest or squash"),
        ({"mean": [0.5, 0.5]}, "mean is .*no three numbers"),
        ({"interpolation": "sinc"}, "interpolation is 'sinc'"),
    ],
)
def test_images_that_are_refused(images, said, tmp_path):
    folder_of(tmp_path, {"vision_cfg": SMALL}, images=images)
    with pytest.raises(StudyError, match=said):
        model_folder.read(tmp_path)
