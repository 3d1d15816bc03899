"""`python -m babygpt.catchup 6`: get to the start of lesson 6. See `babygpt/workshop/catchup.py`."""

from babygpt.workshop.catchup import main

if __name__ == "__main__":
    main()
