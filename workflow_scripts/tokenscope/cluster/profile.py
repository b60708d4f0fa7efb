"""Where a setting of a Snakemake profile stands: file, line and key, for who has to change it."""

import os
from pathlib import Path

from tokenscope.config_file.lines import Source
from tokenscope.errors import StudyError

NAMES = ("profile.v9+.yaml", "profile.yaml", "config.v8+.yaml", "config.yaml")
OURS = Path("profiles", "slurm")


class Profile:
    """A profile's file with the lines of its keys; without one, keys are told alone."""

    def __init__(self, file: Path | None):
        self.file = file
        self.source: Source | None = None
        self.content: dict = {}
        if file:
            try:
                self.source = Source(file)
                self.content = self.source.content() or {}
            except (StudyError, ValueError):
                self.source = None

    @classmethod
    def of_command(cls, words: list[str]) -> "Profile":
        """The profile that a call of Snakemake names."""
        name = os.environ.get("SNAKEMAKE_PROFILE", "")
        for flag, value in zip(words, [*words[1:], ""], strict=True):
            if flag in ("--profile", "--workflow-profile"):
                name = value
            elif flag.startswith(("--profile=", "--workflow-profile=")):
                name = flag.partition("=")[2]
        if not name:
            return cls(None)
        home = Path.home() / ".config" / "snakemake" / name
        for folder in (Path(name), home, Path("/etc/xdg/snakemake", name)):
            for file in (folder / one for one in NAMES):
                if file.is_file():
                    plain = OURS / file.name  # the root's link slurm leads there
                    return cls(plain if plain.exists() and file.samefile(plain) else file)
        return cls(None)

    def place(self, rule: str, resource: str) -> str:
        """``profiles/slurm/profile.v9+.yaml, line 30: set-resources: extract: gpu_model``.

        Args:
            rule: whose jobs ask for the resource. Where the profile sets none for it the default is
                meant, but for time and memory, which the rules themselves reckon.
        """
        own = (self.content.get("set-resources") or {}).get(rule)
        if resource in ("mem_mb", "runtime") or (isinstance(own, dict) and resource in own):
            return self._at(["set-resources", rule, resource])
        return self._at(["default-resources", resource])

    def option(self, name: str) -> str:
        """The same of a setting at the top, as ``slurm-qos``."""
        return self._at([name])

    def _at(self, path: list[str]) -> str:
        key = ": ".join(path)
        if self.source is None:
            return f"the profile: {key}"
        line = self.source.line(path)
        return f"{self.file}{f', line {line}' if line else ''}: {key}"
