"""`python -m babygpt.playground`: see `commands.py`."""

from babygpt.playground.commands import main

if __name__ == "__main__":
    main()
