"""The bug clinic: copies of the versions with a classic bug in each. See `babygpt/workshop/clinic/commands.py`."""
