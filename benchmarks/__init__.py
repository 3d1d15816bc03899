"""What takes how long: `python -m benchmarks` measures, prints a table and writes JSON. See README.md."""
