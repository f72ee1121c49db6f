"""``python -m cli``: the same as the installed command `elastic`."""

from cli import main

main(prog_name="elastic")
