# SPDX-License-Identifier: Apache-2.0
from generators.dialogues.domains import builtin_domains
from validators.taxonomy import builtin_taxonomy


def test_domains_have_names_of_their_own_and_say_what_is_at_stake() -> None:
    domains = builtin_domains()
    names = [domain.name for domain in domains]
    assert len(set(names)) == len(names) == 50
    assert {"work", "politics", "care", "conflict", "loss", "money", "illness"} <= set(names)
    assert all(len(domain.description.split()) >= 12 for domain in domains)


def test_no_domain_names_a_feeling() -> None:
    """A domain that did would put the word into every prompt made from it."""
    feelings = {word for label in builtin_taxonomy("deepdialogue").labels for word in (label.name, *label.synonyms)}
    for domain in builtin_domains():
        assert not feelings & set(domain.description.lower().replace(",", " ").replace(".", " ").split()), domain.name
