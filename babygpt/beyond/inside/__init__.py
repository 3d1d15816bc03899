"""What has it learned? Ways to look into a trained model, one file per finding, on top of PyTorch's hooks (`hooks.py`).

    python -m babygpt.beyond.inside runs/v10      what each head looks at, and what it is good for

The models that come with the package can be looked into as well: `python -m babygpt.beyond.inside v10`.
"""
