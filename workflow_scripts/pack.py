"""Pack what a laptop needs to draw the figures and write the report: tables, data, configs.

    python workflow_scripts/pack.py config/demo.yaml

In a clone of the project, ``make fetch FROM=paper.tar.gz STUDY=paper`` compares all of it and puts
it in its place; ``make figure`` and ``make report`` work there without weights, images and tokens.
Partial results are packed as they are.
"""

import argparse
import sys

from tokenscope.errors import StudyError
from tokenscope.packing.study_files import pack


def main(config):
    """Write ``<results>/<study>.tar.gz`` and print what is in it.

    Args:
        config: path of the study's config.

    Returns:
        path of the archive.

    Raises:
        StudyError: the config is none or names files elsewhere, or its results are not there.
    """
    _, archive, parts = pack(config)
    for part, files in parts.items():
        size = sum(name.stat().st_size for name in files) / 1e6
        print(f"{part:16} {len(files):5} files {size:9.2f} MB")
    print(f"{archive}: {archive.stat().st_size / 1e6:.2f} MB")
    return archive


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Pack what figures and report are made from")
    parser.add_argument("config", help="YAML file of a study")
    try:
        main(parser.parse_args().config)
    except StudyError as error:
        sys.exit(f"error: {error}")
