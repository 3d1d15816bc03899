"""`python -m babygpt.beyond.assistant`: see `stages.py`."""

from babygpt.beyond.assistant.stages import main

if __name__ == "__main__":
    main()
