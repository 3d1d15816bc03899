"""The losses of all versions side by side: `python -m babygpt.compare`.

`__main__` is the command, `plans` says what is trained, `jobs` trains it and keeps the records,
`verdict` tells a step that helped from chance, `ladder` makes the table, `pictures` the pictures,
`result` the files of it all. `ablations` is version 8 with its four changes to be switched on one by
one, `speed` the table for versions 2 to 4. `publish` puts `results/` into the README and the lessons.
"""
