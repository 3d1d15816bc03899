"""`python -m babygpt.clinic`: find and fix twelve classic bugs. See `babygpt/workshop/clinic/commands.py`."""

from babygpt.workshop.clinic.commands import main

if __name__ == "__main__":
    main()
