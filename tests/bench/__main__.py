"""Run sections of the benchmarks; each in a process of its own, so that none warms up another."""

import argparse
import importlib
import subprocess
import sys

from bench.harness import Report, pick

SECTIONS = (
    "extraction", "peers", "stores", "decode", "probes", "heads", "lost", "training", "dag",
    "kinds",
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved repetitions")
    parser.add_argument(
        "--minutes",
        type=float,
        default=5,
        help="of a section, after which rounds are left out (two are always run)",
    )
    parser.add_argument("--profile", action="store_true", help="also where processor time goes")
    parser.add_argument("--out", default="results/bench", help="folder for the CSV files")
    parser.add_argument("--full", action="store_true", help="also what takes many minutes")
    options = parser.parse_args()
    wanted = options.sections or SECTIONS
    if strange := set(wanted) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(strange))}; there are {', '.join(SECTIONS)}")
    if len(wanted) == 1:
        section = importlib.import_module(f"bench.{wanted[0]}")
        with Report(wanted[0], section.__doc__, options) as report:
            section.main(report, pick())
        return
    flags = ["--rounds", str(options.rounds), "--out", options.out]
    flags += ["--minutes", str(options.minutes)]
    flags += ["--full"] * options.full + ["--profile"] * options.profile
    codes = [subprocess.call([sys.executable, "-m", "bench", name, *flags]) for name in wanted]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
