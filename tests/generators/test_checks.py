# SPDX-License-Identifier: Apache-2.0
"""What a writer is told about a line in which its emotion was not heard."""

from generators.checks import line_check
from generators.conversations import Conversation
from generators.draws import Finding
from validators.readings import RealisedRule, make_reading

SAID = "There is sawdust all over the place here."


def found(ways: tuple[str, ...]) -> Finding:
    """Read a line that is to be angry, and in which sadness is heard."""
    check = line_check("anger", RealisedRule(rank=1), ways)
    assert check is not None
    reading: Conversation[Finding] = check(SAID)
    assert next(reading).text == SAID  # type: ignore[union-attr]
    try:
        reading.send(make_reading(("anger", "sadness"), (0.1, 0.9), (0.5, 0.5)))
    except StopIteration as end:
        finding: Finding = end.value
        return finding
    raise AssertionError("one reading is enough")


def test_it_is_told_what_was_heard_instead_but_not_what_it_said():
    finding = found(("",))
    assert not finding.realised
    assert "sadness" in finding.repair
    assert SAID not in finding.repair
    assert "anger" not in finding.repair  # a small model says the word that it has read last


def test_it_is_told_nothing_where_the_next_attempt_is_told_another_way():
    assert found((" Who feels so may shout.", " Who feels so may ask why.")).repair == ""
