"""Where this repository keeps what the library reads, however deep a module lies."""

from pathlib import Path

LIBRARY = Path(__file__).parent
SCRIPTS = LIBRARY.parent  # what PYTHONPATH names
CONFIG = SCRIPTS.parent / "config"
