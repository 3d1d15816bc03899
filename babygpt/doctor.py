"""`python -m babygpt.doctor`: is this laptop ready for a workshop? See `babygpt/workshop/doctor.py`."""

import sys

from babygpt.workshop.doctor import main

if __name__ == "__main__":
    sys.exit(main())
