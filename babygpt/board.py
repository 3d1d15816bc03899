"""`python -m babygpt.board`: the board of a room. See `babygpt/workshop/board/commands.py`."""

from babygpt.workshop.board.commands import main

if __name__ == "__main__":
    main()
