"""The course on top of the package: what the lessons import, the notebooks made from them, and the checks."""

from babygpt.course.tracebacks import install

install()
