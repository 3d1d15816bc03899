"""The slow check of quoted numbers (`make lessons`) finds a number that nothing supports."""

from full_lessons import quotes, unsupported

PAGE = """# A lesson

The loss is 2.40, as in Exercise 5.2 and Python 3.11, or `0.02`. See [here](../x/1.5.md).

<!-- quoted: 4.17 = the uniform loss -->

A blind guess scores 4.17, and 1,234.5 is large; −0.3 is negative.

<!-- ladder -->
| 9.99 |
<!-- end of ladder -->
"""


def test_decimal_numbers_in_prose_are_quotes_unless_a_comment_names_their_source():
    assert quotes(PAGE) == {"2.40", "1,234.5", "−0.3"}


def test_a_quoted_number_must_be_printed_rounded_as_it_is_quoted():
    assert unsupported({"2.40", "1,234.5", "−0.3"}, "loss 2.4023, 1234.49\nslope -0.3") == []
    assert unsupported({"2.40"}, "loss 2.4061") == ["2.40"]
    assert unsupported({"0.13"}, "1.3e-1 and 7e-15") == []
