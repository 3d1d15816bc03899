"""A GPT in ten versions, from a table of letter pairs to a transformer.

Each of `babygpt.v1` ... `babygpt.v10` holds one new idea and the class `Model`;
`python -m babygpt` lists them. Importing this package runs nothing but the line below.
"""

import os

__version__ = "0.1.0"

# Threads that wait for work sleep instead of spinning. While they spin they keep a core busy, so that two runs on
# two cores can take ten times as long as one. PyTorch's thread library reads this once, when torch is
# loaded; that is why it has to be here, the one exception to "nothing happens at import".
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
