"""A GPT in ten versions, from a table of letter pairs to a transformer.

Each of `babygpt.v1` ... `babygpt.v10` holds one new idea and the class `Model`;
`python -m babygpt` lists them. Importing this package runs nothing.
"""

__version__ = "0.1.0"
