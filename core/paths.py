"""The location of this program on the machine that it runs on."""

from pathlib import Path

# The folder that holds the packages, `templates/`, `static/` and `models/`: a checkout, or an unpacked archive.
REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
