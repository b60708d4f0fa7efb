"""Small studies of one's own backbone and images, with any subset of sections and inputs."""

import itertools
import random

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tokenscope.backbones.loading import create
from tokenscope.study.architecture import look_up
from tokenscope.study.zoo import COLUMNS

SIZE = 64  # pixels along a side, whatever the architecture was made for
MODELS = {  # CLS or none, registers or none, outliers or none; the weights are random
    "plain": ("r0", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    "outliers": ("r0", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    "no-cls": ("r1", "vit_wee_patch16_reg1_gap_256.sbb_in1k"),
    "registers": ("r4", "vit_small_patch14_reg4_dinov2.lvd142m"),
}
CHOICES = {
    "model": tuple(MODELS),
    "labels": ("none", "folders", "classes"),
    "images": (6, 12),
    "probes": ("", "probes", "sensitivity"),
    "heads": ("", "test", "train"),
    "discovery": ("", "table"),
    "dense": ("", "smoothness", "segmentation", "depth"),
    "testtime": ("", "testtime"),
    "training": ("", "scratch", "finetuned"),
    "diagnose": ("", "diagnose"),
    "overhead": ("", "overhead"),
}


def possible(study):
    """Whether a choice for each key, or for some of them, is a study that can be asked for."""
    get = study.get
    base = get("testtime") or get("training") == "finetuned"
    if base and get("model") in ("no-cls", "registers"):
        return False
    if get("labels") == "none" and (get("heads") or get("training")):
        return False
    return not (get("heads") == "train" and get("images") == 6)


def pairs_of(studies):
    """Pairs of choices that meet in these studies; all that can be asked for, without studies."""
    pairs = {
        frozenset([(a, x), (b, y)])
        for a, b in itertools.combinations(CHOICES, 2)
        for x in CHOICES[a]
        for y in CHOICES[b]
        if possible({a: x, b: y})
    }
    return pairs if studies is None else set().union(*(_met(study, pairs) for study in studies))


def pairwise(seed=0):
    """Studies in which every possible pair of choices occurs at least once."""
    draw, pairs = random.Random(seed), pairs_of(None)
    studies = []
    while pairs:
        best, gain = None, -1
        for _ in range(60):
            study = dict(draw.choice(sorted(map(sorted, pairs))))
            keys = [key for key in CHOICES if key not in study]
            draw.shuffle(keys)
            for key in keys:
                fits = [x for x in CHOICES[key] if possible({**study, key: x})]
                study[key] = max(
                    fits, key=lambda x: (len(_met({**study, key: x}, pairs)), draw.random())
                )
            if len(met := _met(study, pairs)) > gain:
                best, gain = study, len(met)
        studies.append({key: best[key] for key in CHOICES})
        pairs -= _met(best, pairs)
    return studies


def _met(study, pairs):
    return {pair for pair in pairs if pair <= set(study.items())}


def write(folder, study):
    """Images, weights, tables, recipes and the config of one study below a folder."""
    rng = np.random.default_rng(0)
    names, boxes = [], ["file,left,top,right,bottom"]
    for i in range(study["images"] + 6):
        place = "images" if i < study["images"] else "others"
        wordnet = ("n01440764", "n01443537")[i % 2]
        file = folder / place / wordnet / f"{i:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8)
        pixels[20:50, 20:60] = 40 * (i % 5)
        Image.fromarray(pixels).save(file)
        names.append(f"{wordnet}/{i:02d}")
        if place == "images":
            boxes.append(f"{wordnet}/{i:02d}.png,20,20,60,50")
            _targets(folder, f"{i:02d}", pixels)
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")
    registers, timm_id = MODELS[study["model"]]
    _weights(folder, timm_id, study["model"])
    row = {"family": "mine", "size": "net", "registers": registers, "timm_id": timm_id,
           "weights": f"{folder}/net.safetensors",
           "classes": "imagenet-1k" if study["labels"] == "classes" and "dinov2" not in timm_id
           else ""}  # fmt: skip
    rows = [row]
    if study["training"] == "finetuned":
        rows.append({**row, "registers": "r1-finetuned", "weights": "", "recipe": "own"})
    if study["training"] == "scratch":
        rows.append({**row, "size": "new", "registers": "r1-scratch", "weights": "",
                     "timm_id": "vit_tiny_patch16_224", "recipe": "own"})  # fmt: skip
    lines = [",".join(COLUMNS), *(",".join(r.get(c, "") for c in COLUMNS) for r in rows)]
    (folder / "backbones.csv").write_text("\n".join(lines) + "\n")
    facts = []
    for facts_of in look_up(list({r["timm_id"] for r in rows}), ["config/x.csv"], folder).values():
        facts.append({**facts_of.as_strings(), "input_size": str(_size(facts_of))})
    lines = [",".join(facts[0]), *(",".join(f.values()) for f in facts)]
    (folder / "architectures.csv").write_text("\n".join(lines) + "\n")
    (folder / "recipes").mkdir()
    recipe = {"dataset": "others", "model": {}, "training": {
        "epochs": 1, "batch_size": 4, "lr": 1e-3}}  # fmt: skip
    if study["training"] == "scratch":
        recipe["model"] = {"img_size": SIZE, "depth": 2, "embed_dim": 48, "num_heads": 3,
                           "num_classes": 1000 if study["labels"] == "classes" else 2}  # fmt: skip
    if study["training"] == "finetuned":
        head = {"num_classes": 2} if study["labels"] == "folders" else {}
        recipe["model"] = {"img_size": SIZE, **head}
    (folder / "recipes/own.yaml").write_text(yaml.safe_dump(recipe))
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(config(folder, study), sort_keys=False))
    return file


def _size(facts):
    return SIZE // facts.patch * facts.patch


def _weights(folder, timm_id, model):
    torch.manual_seed(0)
    head = {} if "dinov2" in timm_id else {"num_classes": 1000}
    count = int(MODELS[model][0][1:])
    net = create({"timm_id": timm_id, "registers": count, "model": head})
    if model == "outliers":
        with torch.no_grad():
            net.pos_embed[0, 1::97] *= 300
    save_file(net.state_dict(), folder / "net.safetensors")


def _targets(folder, name, pixels):
    (folder / "maps").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "maps" / f"{name}.color.png")
    labels = np.zeros(pixels.shape[:2], np.uint8)
    labels[20:50, 20:60] = 1
    Image.fromarray(labels).save(folder / "maps" / f"{name}.labels.png")
    depth = (1000 + 10 * np.arange(pixels.shape[1], dtype=np.uint16))[None].repeat(len(pixels), 0)
    Image.fromarray(depth).save(folder / "maps" / f"{name}.depth.png")


def config(folder, study):
    """The config of a study; images of training and of heads are others than those analysed."""
    labels = {"labels": "none" if study["labels"] == "none" else "folders"}
    if study["labels"] == "classes":
        labels |= {"classes": "imagenet-1k", "subset": True}
    data = {"type": "imagefolder", "seed": 0, "images": "all", **labels}
    made = {
        "study": "subset", "results": f"{folder}/results", "device": "cpu", "forecast": "none",
        "backbone_tables": [f"{folder}/backbones.csv"], "recipes": f"{folder}/recipes",
        "backbones": ["mine/*/*"], "analyse": ["photos"],
        "datasets": {"photos": {**data, "path": f"{folder}/images"},
                     "others": {**data, "path": f"{folder}/others"}},
        "extract": {"batch": 4}, "gallery": {"images": 2, "high_resolution": 96},
        "statistics": {"resamples": 50},
        "threads": dict.fromkeys(("decode", "extract", "train", "probe"), 1),
    }  # fmt: skip
    key = f"mine/net/{MODELS[study['model']][0]}"
    if study["probes"]:
        made["probes"] = {"dataset": "photos", "cutoffs": "photos", "backbones": [key],
                          "epochs": 2, "batch": 16, "tokens_per_image": 4, "min_tokens": 10,
                          "split": [0.5, 0.25, 0.25], "learning_rates": [0.01],
                          "seeds": 1}  # fmt: skip
        if study["probes"] == "sensitivity":
            made["probes"]["sensitivity"] = {"backbones": [key], "penalties": [1]}
    if study["heads"]:
        made["heads"] = {"test": "photos", "learning_rates": [0.1], "epochs": 2, "batch": 4,
                         "seeds": 1, "validation": 0.3, "neighbours": 2}  # fmt: skip
        if study["heads"] == "train":
            made["heads"]["train"] = "others"
    if study["discovery"]:
        entry = {"layout": "table", "path": f"{folder}/images", "boxes": f"{folder}/boxes.csv"}
        made["discovery"] = {"sets": {"boxes": entry}, "blocks": 1, "facets": ["k"],
                             "biases": [0]}  # fmt: skip
    if study["dense"]:
        made["dense"] = {"smoothness": {"images": 4}}
    if study["dense"] in ("segmentation", "depth"):
        task, ending = study["dense"], {"segmentation": "labels", "depth": "depth"}
        entry = {"task": task, "layout": "pairs", "path": f"{folder}/maps",
                 "images": "{id}.color.png", "targets": f"{{id}}.{ending[task]}.png",
                 "test_share": 0.4}  # fmt: skip
        entry |= {"classes": 2} if task == "segmentation" else {"scale": 1000}
        made["dense"]["sets"] = {"maps": entry}
        made["dense"][task] = {"crop": [64, 64], "stride": 64, "steps": 4, "batch": 2,
                               "features": "cached"}  # fmt: skip
    if study["testtime"]:
        made["testtime"] = {"backbones": [key], "dataset": "photos", "registers": [1],
                            "images": 4, "max_neurons": 4}  # fmt: skip
    if study["diagnose"]:
        made["diagnose"] = {"dataset": "photos", "backbones": [key]}
    if study["overhead"]:
        made["overhead"] = {"backbones": [key], "registers": [0, 1], "batch": 2, "rounds": 1}
    return made
