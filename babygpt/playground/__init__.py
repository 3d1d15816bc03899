"""The playground: watch a model write, and see why, on a page in the browser. See `commands.py`."""
