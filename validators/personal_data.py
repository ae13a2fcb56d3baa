# SPDX-License-Identifier: Apache-2.0
"""Personal data in a text, by patterns: addresses of e-mail, telephone numbers, numbers of payment cards.

That nothing is found does not say that nothing is there; names of people are not looked for.
"""

import re
from typing import Final

from validators.verdicts import ACCEPTED, Verdict

PERSONAL_DATA: Final = {
    "email": "an address of e-mail",
    "phone": "a telephone number",
    "card": "a number of a payment card",
}

EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
PHONE = re.compile(r"(?<![\w.+])(?:\+\d[\d ().-]{7,}\d|\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}[-. ]\d{3}[-. ]\d{4})(?![\w.])")
CARD_NUMBER = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w.-])")


def kinds_of_personal_data(text: str) -> list[str]:
    """Name the kinds of personal data that a text seems to hold, never the data."""
    found = {
        "email": EMAIL.search(text) is not None,
        "phone": PHONE.search(text) is not None,
        "card": any(is_card(number[0]) for number in CARD_NUMBER.finditer(text)),
    }
    return [kind for kind, there in found.items() if there]


def no_personal_data(text: str) -> Verdict:
    """Reject a text with what looks like personal data; the detail says of which kind, and no more."""
    found = kinds_of_personal_data(text)
    return Verdict.reject("personal_data", " and ".join(PERSONAL_DATA[kind] for kind in found)) if found else ACCEPTED


def is_card(digits: str) -> bool:
    """Whether a number has the check digit of payment cards (Luhn; ISO/IEC 7812-1, annex B)."""
    numbers = [int(char) for char in reversed(digits) if char.isdigit()]
    doubled = [sum(divmod(2 * number, 10)) for number in numbers[1::2]]
    return len(set(numbers)) > 1 and (sum(numbers[::2]) + sum(doubled)) % 10 == 0
