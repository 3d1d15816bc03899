"""A bundle for a memory stick, from which babygpt installs without a network. See `commands.py` and `install.py`."""
