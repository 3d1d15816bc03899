"""The board of a room: everybody's losses, checks and raised hands on one page. See `commands.py`."""
