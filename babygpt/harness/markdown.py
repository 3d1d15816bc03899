"""Markdown pages with parts that are generated."""

from babygpt.errors import require


def with_block(page: str, name: str, content: str) -> str:
    """A page with the text between `<!-- name -->` and `<!-- end of name -->` replaced.

    Raises:
        UserError: the page has no such block.
    """
    before, begin, rest = page.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    require(bool(end), f"a page lacks the comments around its {name}: it begins with {page[:40]!r}")
    return f"{before}{begin}\n{content}\n\n{end}{after}"
