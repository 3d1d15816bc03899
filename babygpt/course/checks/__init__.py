"""Checks of the exercises: a module for each lesson, a function for each exercise.

A check takes the learner's answer (a function, a class, a number) and
- prints that it is right;
- or prints that the exercise is still open (the stub raises NotImplementedError), so that
  "Run all" goes on;
- or raises CheckFailed with what it saw, what it expected, and what to look at.
"""

from babygpt.course.checks.core import CheckFailed as CheckFailed
from babygpt.course.checks.core import choose as choose
from babygpt.course.checks.core import solved as solved
