"""What can go wrong on a machine, said in one line together with its fix."""

from __future__ import annotations


class StackError(Exception):
    """A wrong setting, a missing engine, a taken port: printed as `problem: fix`, exit code 1."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\n  {fix}" if fix else problem)
        self.problem = problem
        self.fix = fix
