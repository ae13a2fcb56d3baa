# SPDX-License-Identifier: Apache-2.0
"""Strange text in a row: a lone surrogate is refused before pyarrow sees it; all else comes back exactly."""

from pathlib import Path

import pytest

from tests.flows.shards import evidence, open_tiny
from validators.records import Evidence
from validators.schemas import EVIDENCE, REJECTED, TableError, to_records, to_table

pytestmark = pytest.mark.fault

STRANGE = {
    "nul": "a\x00b",
    "control": "\x01\x1b[31m\x7f\x85",
    "bidi": "\u202eevil\u202c \u2066x\u2069",
    "zero width": "a\u200bb\u200d\ufeff",
    "emoji pair": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "combining": "e\u0301" + "\u0321" * 200,
    "line ends": "\r\n\u2028\u2029\n",
    "noncharacter": "\ufffe\uffff\U0010ffff",
    "private": "\ue000",
    "long": "ha" * 500_000,
    "quotes": "'\";--\\${key}{{x}}{% raw %}",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_it_comes_back_exactly(tmp_path: Path, text: str) -> None:
    rows = evidence(3, lambda _: text)
    with open_tiny(tmp_path / "run") as run:
        run.write_shard("evidence", 0, planned=3, kept=to_table(rows, EVIDENCE), rejected=to_table([], REJECTED))
        kept, _ = run.read_shard("evidence", 0)
        assert to_records(kept, Evidence) == rows


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff", "\udc00\ud800", "\ud83d then \ude00"])
def test_a_lone_surrogate_names_its_row_and_not_its_text(text: str) -> None:
    poisoned = Evidence.model_construct(**(dict(evidence(1)[0]) | {"cause": text}))
    with pytest.raises(TableError, match="cause: lone surrogate U") as caught:
        to_table([*evidence(2), poisoned], EVIDENCE)
    assert caught.value.where == "table evidence, row 2"
    str(caught.value).encode()  # the message itself can be printed
