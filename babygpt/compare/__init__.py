"""The losses of all versions side by side: `python -m babygpt.compare`.

`__main__` is the command. `kinds` lists the comparisons, `studies` says what each one trains, `jobs` trains it and
keeps the records. `verdict` tells an effect from noise, `table` makes the tables, `pictures` the pictures, and `result`
the files. `recorded` reads what `results/` holds. `speed` measures versions 2 to 4.

The rest are models that only comparisons need: `ablations` is version 8 with switches for its changes, `unscaled` is
version 5 without the scale of its scores, and `default_weights` is version 10 with PyTorch's default initial weights.
`babygpt.course.publish` puts the results into the README and the lessons.
"""
