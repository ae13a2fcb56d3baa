# SPDX-License-Identifier: Apache-2.0
"""The list of mutants fits the source: each text that one replaces is there once, and the tests it names are there."""

import ast

import pytest

from tests.faults.mutants import MUTANTS, ROOT, Mutant, source


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source(mutant: Mutant) -> None:
    text = source(mutant)
    assert text.count(mutant.old) == 1
    changed = text.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tested = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tested) if isinstance(node, ast.FunctionDef)}
        assert any(one.startswith("test_") for one in names)
        assert not name or name in names


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 8
