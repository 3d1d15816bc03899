"""How fast is babygpt? `python -m benchmarks` measures, prints a table, and writes JSON. See README.md."""
