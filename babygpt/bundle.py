"""`python -m babygpt.bundle`: all for a memory stick. See `babygpt/workshop/bundle/commands.py`."""

from babygpt.workshop.bundle.commands import main

if __name__ == "__main__":
    main()
