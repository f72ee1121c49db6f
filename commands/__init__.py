"""What the `elastic` commands do; `cli.py` gives them their names and options."""
