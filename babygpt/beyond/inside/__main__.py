"""`python -m babygpt.beyond.inside`: see `report.py`."""

from babygpt.beyond.inside.report import main

if __name__ == "__main__":
    main()
