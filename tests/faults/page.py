# SPDX-License-Identifier: Apache-2.0
"""The table of docs/faults.md, made from the docstrings of the cases: `python -m tests.faults.page` writes it."""

import ast
import re
from pathlib import Path
from typing import Final

from flows.markdown import markdown_table

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "faults.md"
CASES: Final = 30

_NAME = re.compile(r"test_f(\d\d)_\w+\.py")
_TABLE = re.compile(r"^\| case \|.*?(?=\n\n|\Z)", flags=re.DOTALL | re.MULTILINE)


def case_files() -> dict[int, Path]:
    """The file of each case by its number."""
    found = {path: _NAME.fullmatch(path.name) for path in sorted(Path(__file__).parent.glob("test_f*.py"))}
    return {int(name[1]): path for path, name in found.items() if name}


def told(path: Path) -> tuple[str, str]:
    """What goes wrong in a case and what is then expected, as its docstring says: the two sides of its first colon."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    what, colon, outcome = words.partition(": ")
    if not colon:
        raise ValueError(f"the docstring of {path.name} must read 'what goes wrong: what is expected'")
    return what, outcome


def table() -> str:
    """All cases as a Markdown table."""
    rows = []
    for number, path in sorted(case_files().items()):
        what, outcome = told(path)
        rows.append([f"[{number}](../tests/faults/{path.name})", what, outcome[:1].upper() + outcome[1:]])
    return markdown_table(["case", "what goes wrong", "what is expected"], rows)


def main() -> None:
    """Put the table as it is now into the page."""
    page = PAGE.read_text(encoding="utf-8")
    made, count = _TABLE.subn(lambda _: table().rstrip("\n"), page, count=1)
    if count != 1:
        raise SystemExit(f"{PAGE} has no table to replace: it begins with '| case |'")
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
