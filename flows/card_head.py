# SPDX-License-Identifier: Apache-2.0
"""The YAML head of a dataset card, which the Hub reads: licence, languages, tables, and their features and sizes."""

import io
from collections.abc import Mapping, Sequence
from typing import cast

import pyarrow as pa
from ruamel.yaml import YAML

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
"""Of the Hub's size categories, the bound below which each holds."""

Configs = Mapping[str, Mapping[str, pa.Table]]
"""Table -> split -> rows."""


def render_head(name: str, configs: Configs, kept: int) -> str:
    """Render the head; `kept` is the number of utterances."""
    tables = [table for splits in configs.values() for table in splits.values()]
    licences = _values(tables, "source_licence")
    head = {
        "pretty_name": name,
        "language": _values(tables, "language"),
        "license": licences[0].lower() if len(licences) == 1 else "other",
        "size_categories": [next((name for bound, name in SIZES if kept < bound), "n>10M")],
        "task_categories": ["text-classification", *(["audio-classification"] if "clips" in configs else [])],
        "task_ids": ["sentiment-classification"],
        "tags": ["synthetic", "emotion", "affective-computing", "affectory"],
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "configs": [
            {
                "config_name": config,
                **({"default": True} if config == "utterances" else {}),
                "data_files": [{"split": split, "path": f"data/{config}/{split}-*.parquet"} for split in splits],
            }
            for config, splits in configs.items()
        ],
        "dataset_info": dataset_infos(configs),
    }
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # untyped in ruamel.yaml
    yaml.dump(head, text)
    return text.getvalue()


def dataset_infos(configs: Configs) -> list[dict[str, object]]:
    """The features and sizes of each table, as `datasets` writes them into a card; bytes are those in memory."""
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    infos = DatasetInfosDict()
    for config, splits in configs.items():
        found = SplitDict()
        for split, table in splits.items():
            found.add(SplitInfo(split, num_bytes=table.nbytes, num_examples=table.num_rows))
        infos[config] = DatasetInfo(
            features=Features.from_arrow_schema(next(iter(splits.values())).schema),
            splits=found,
            dataset_size=sum(split.num_bytes for split in found.values()),
        )
    data = DatasetCardData()
    infos.to_dataset_card_data(data)
    told: object = data.to_dict()["dataset_info"]  # type: ignore[no-untyped-call]
    return told if isinstance(told, list) else [cast("dict[str, object]", told)]


def _values(tables: Sequence[pa.Table], column: str) -> list[str]:
    holding = [table for table in tables if column in table.column_names]
    return sorted({str(value) for table in holding for value in table.column(column).unique().to_pylist()})
