"""A head's own classes in their order: read from what people have, scored, or left out."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from tokenscope.backbones.loading import check_weights, open_backbone
from tokenscope.cards import class_list
from tokenscope.datasets.manifest import index
from tokenscope.errors import StudyError
from tokenscope.study import zoo

NAMES = ("owl", "ant", "cat")  # not the order of sorted folders
FORMS = {
    "names.txt": "owl\nant\n\ncat\n",
    "names.csv": "name,url\nowl,a\nant,b\ncat,c\n",
    "numbered.csv": "index,name\n2,cat\n0,owl\n1,ant\n",
    "list.json": json.dumps(NAMES),
    "config.json": json.dumps({"id2label": {"2": "cat", "0": "owl", "1": "ant"}}),
    "class_to_idx.json": json.dumps({"ant": 1, "cat": 2, "owl": 0}),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_order_in_any_form(tmp_path, name):
    (tmp_path / name).write_text(FORMS[name])
    assert class_list.is_list(str(tmp_path / name)) and not class_list.is_list("imagenet-1k")
    assert class_list.read(str(tmp_path / name)) == NAMES


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "owl\nant\nowl\n", "names 'owl' twice"),
        ("a.txt", "owl\n", "names 1 classes"),
        ("a.csv", "number,word\n0,owl\n", "no column name or"),
        ("a.csv", "index,name\n0,owl\n2,ant\n", "from 0 without a gap"),
        ("a.json", "{", "cannot be read"),
        ("a.json", "3", "neither a list nor"),
    ],
)
def test_what_is_no_order_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(StudyError, match=f"list of classes '.*{said}"):
        class_list.read(str(tmp_path / name))


def test_folders_are_numbered_by_the_list(photographs, tmp_path):
    """Two class folders; by their names alone the numbers would be the other way round."""
    folders = sorted(entry.name for entry in photographs.iterdir() if entry.is_dir())
    (tmp_path / "order.txt").write_text("\n".join(reversed(folders)))
    source = {"type": "imagefolder", "path": str(photographs), "labels": "folders"}
    plain, ordered = index(source), index({**source, "classes": str(tmp_path / "order.txt")})
    assert plain["image_id"].tolist() == ordered["image_id"].tolist()
    assert (plain["label"] + ordered["label"]).eq(1).all()
    (tmp_path / "other.txt").write_text("owl\nant\n" + folders[0])
    with pytest.raises(StudyError, match=f"'{folders[1]}' is no class of '.*other.txt'"):
        index({**source, "classes": str(tmp_path / "other.txt")})
    (tmp_path / "more.txt").write_text("\n".join([*folders, "owl"]))
    with pytest.raises(StudyError, match="1 of the 3 classes .* have no image: owl"):
        index({**source, "classes": str(tmp_path / "more.txt")})


def row(tmp_path, weights="", classes=""):
    timm_id = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    table = tmp_path / "rows.csv"
    table.write_text(f"{','.join(zoo.COLUMNS)}\nmine,net,r0,{timm_id},{weights},,{classes},\n")
    (found,) = zoo.load(["config/backbones.csv", str(table)], ["mine/*/*"], {}, "").values()
    return found


def test_a_head_of_ones_own_is_opened_with_its_list_and_left_out_without(tmp_path):
    own = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=1)
    file = tmp_path / "tuned.safetensors"
    save_file(own.state_dict(), file)
    (tmp_path / "order.txt").write_text(FORMS["names.txt"])
    scored = row(tmp_path, file, tmp_path / "order.txt")
    assert scored.arch.num_classes == 3
    opened = open_backbone({**scored.spec, "model": {**scored.model, "depth": 1}}, file)
    assert torch.equal(opened.head.weight, own.head.weight)
    for weights in (file, ""):  # the second: found by its name in a folder of weights
        without = row(tmp_path, weights)
        assert without.arch.num_classes == 0
        check_weights({**without.spec, "model": {**without.model, "depth": 1}}, file)
    with pytest.raises(StudyError, match="own head has 1000 classes, '.*order.txt' lists 3"):
        row(tmp_path, "", tmp_path / "order.txt")
