"""``python -m cli``: the same as the installed `elastic`."""

from cli import main

main(prog_name="elastic")
