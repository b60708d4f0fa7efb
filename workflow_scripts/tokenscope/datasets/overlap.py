"""Two data sets that must not share an image: training and test images of a head."""

import pandas as pd

from tokenscope.errors import StudyError


def shared(
    train: pd.DataFrame, test: pd.DataFrame, train_name: str, test_name: str, duplicates: str
) -> list[str]:
    """Ids of training images whose file is also a test image, by its SHA-256.

    Raises:
        StudyError: there are any, and ``duplicates`` is ``fail``.
    """
    both = train.merge(test, on="sha256", suffixes=("", "_test"))
    if len(both) and duplicates == "fail":
        pairs = zip(both["image_id"][:3], both["image_id_test"][:3], strict=True)
        named = "; ".join(f"{a} is {b}" for a, b in pairs)
        raise StudyError(
            f"{both['image_id'].nunique()} images of '{train_name}' are also in '{test_name}': "
            f"{named}. Take them out, or set heads: duplicates: drop to train without them"
        )
    return sorted(set(both["image_id"]))


def check_classes(train: pd.DataFrame, test: pd.DataFrame, train_name: str, test_name: str) -> None:
    """Raise a StudyError unless a class number means the same in both sets, and all are taught."""
    taught, tested = (
        dict(zip(table["label"], table["label_name"], strict=True)) for table in (train, test)
    )
    for name, labels in ((train_name, taught), (test_name, tested)):
        if min(labels) < 0:
            raise StudyError(f"'{name}' has no labels, so no head can be trained or tested on it")
    for number, called in sorted(tested.items()):
        if number not in taught:
            raise StudyError(
                f"class {number} ('{called}') of '{test_name}' has no image in '{train_name}'"
            )
        if taught[number] != called:
            raise StudyError(
                f"class {number} is '{taught[number]}' in '{train_name}' and '{called}' in "
                f"'{test_name}': a class is missing in one of them, or their labels come from "
                "different lists (config key: datasets, classes)"
            )
