# SPDX-License-Identifier: Apache-2.0
"""croissant.json: the release described for machines, as Croissant 1.0 with its RAI vocabulary (JSON-LD).

Written by hand: `mlcroissant` brings rdflib and more for what is one dictionary, so it only checks this file in the
tests. It holds no time, host or path of this machine, and no address: that of the repository is not known yet. Files
are named from the folder of this file on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from flows.manifest import ReleaseFile, Tables
from flows.release_audit import REDISTRIBUTABLE
from flows.runs import Run
from validators.dialogue_schemas import DIALOGUE_COLUMNS
from validators.schemas import COLUMN_DESCRIPTIONS, SCHEMA_VERSION
from validators.speech_schemas import AUDIO, CLIP_COLUMN_DESCRIPTIONS, RECORDING_COLUMN_DESCRIPTIONS

PARQUET: Final = "application/x-parquet"
SPLITS_ID: Final = "splits"

_TERMS: Final = [
    "citeAs",
    "column",
    "equivalentProperty",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
]
CONTEXT: Final[Mapping[str, object]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
"""The context of Croissant 1.0, which a reader expects word by word."""

MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "utterances": COLUMN_DESCRIPTIONS["utterances"],
    "dialogues": DIALOGUE_COLUMNS,
    "clips": CLIP_COLUMN_DESCRIPTIONS,
    "recordings": RECORDING_COLUMN_DESCRIPTIONS,
}
ROWS: Final = {
    "utterances": "What characters of stories say or think, with intention, context and what a blind reader heard.",
    "dialogues": "Dialogues of two whose emotions follow a planned trajectory.",
    "clips": "Utterances and turns, said by synthetic voices.",
    "recordings": "The clips of a dialogue as one sound.",
}
KEYS: Final = {
    "utterances": ("utterance_id",),
    "dialogues": ("dialogue_id",),
    "clips": ("clip_id",),
    "recordings": ("dialogue_id", "rendering"),
}


def render_croissant(run: Run, configs: Tables, files: Sequence[ReleaseFile], figures: Mapping[str, Any]) -> str:
    """Render the description of the tables of a release and of the files that hold them."""
    languages, licences = _values(configs, "language"), _licences(configs)
    splits = list(dict.fromkeys(split for parts in configs.values() for split in parts))
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": run.recipe.name,
        "description": f"Synthetic text{' and speech' if 'clips' in configs else ''} that expresses emotions of the "
        f"{run.taxonomy.title} taxonomy, made from stories and read blind by a model. README.md is its card.",
        "license": licences,
        "inLanguage": languages,
        "creator": {"@type": "sc:Organization", "name": "Affectory"},
        "citeAs": f"{run.recipe.name}: synthetic emotion dataset, made by Affectory, run {run.folder.fingerprint}.",
        # the tag is given when it is published; here the schema of the tables and the run say which version it is
        "version": f"{SCHEMA_VERSION}.0.0+{run.folder.fingerprint[:12]}",
        "isLiveDataset": False,
        "keywords": ["synthetic", "emotion", "affective-computing", *configs],
        **_responsible(run, configs, figures),
        "distribution": [*_file_sets(configs), *_file_objects(files)],
        "recordSet": [_splits(splits), *(_record_set(config, parts) for config, parts in configs.items())],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _responsible(run: Run, configs: Tables, figures: Mapping[str, Any]) -> dict[str, object]:
    """What the RAI vocabulary asks for, where it is known or measured."""
    kept, planned = figures["rows"]["kept"], figures["rows"]["planned"]
    spoken = ["All voices are synthetic."] if "clips" in configs else []
    short = [label for label, one in figures["per_label"].items() if one["planned"] and not one["kept"]]
    heard = figures["realised"] if figures["verified"] else None
    told = (
        f"A blind reader, itself a model, heard the intended label in {heard['rate']:.1%} of the kept utterances "
        f"(95 % interval {heard['low']:.1%} to {heard['high']:.1%}); perceived labels share that reader's biases."
        if heard
        else "No reader has verified the labels: they are what the writer was asked for."
    )
    return {
        "rai:dataCollection": " ".join(
            [
                "All text is synthetic: a language model wrote it from stories, for a planned emotion each.",
                *spoken,
                f"{planned} utterances were written, {kept} kept, the others rejected with a reason.",
            ]
        ),
        "rai:dataCollectionType": ["Others"],
        "rai:dataPreprocessingProtocol": [
            "Rule gates reject lines that name their label, copy the story, narrate or break off.",
            "Exact and near duplicates over the whole dataset are dropped.",
            "Splits are grouped by story.",
        ],
        "rai:dataAnnotationProtocol": [
            "`intended` is what the writer was asked for; `perceived` what a reader that never saw it found. No person "
            "has labelled the rows."
        ],
        "rai:machineAnnotationTools": list(figures["readers"]) or ["none"],
        "rai:dataBiases": [
            "The text is a language model's, with its English and its stereotypes.",
            told,
            *([f"Wanted, but without a kept row: {', '.join(short)}."] if short else []),
        ],
        "rai:dataLimitations": [
            "Small models bend the facts of a story.",
            "Not for judging people, and no substitute for data from people where decisions about people are made.",
        ],
        "rai:personalSensitiveInformation": [
            "Characters are those of the stories; no text or voice of users or participants was collected. Stories are "
            "used as they were given, and were not searched for persons."
        ],
    }


def _file_sets(configs: Tables) -> Iterator[dict[str, object]]:
    for config in configs:
        yield {
            "@type": "cr:FileSet",
            "@id": f"{config}-files",
            "name": f"{config}-files",
            "description": f"All shards of {config}.",
            "encodingFormat": PARQUET,
            "includes": f"data/{config}/*.parquet",
        }


def _file_objects(files: Sequence[ReleaseFile]) -> Iterator[dict[str, object]]:
    """Every file by itself, so that each can be checked."""
    for file in files:
        yield {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path.rpartition("/")[2],
            "contentUrl": file.path,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": PARQUET if file.rows is not None else "application/x-tar",
            "sha256": file.sha256,
        }


def _splits(splits: Sequence[str]) -> dict[str, object]:
    name = f"{SPLITS_ID}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": SPLITS_ID,
        "name": SPLITS_ID,
        "description": "The splits; no story is in two of them.",
        "dataType": "cr:Split",
        "key": {"@id": name},
        "field": [{"@type": "cr:Field", "@id": name, "name": "name", "dataType": "sc:Text"}],
        "data": [{name: split} for split in splits],
    }


def _record_set(config: str, parts: Mapping[str, pa.Table]) -> dict[str, object]:
    schema = next(iter(parts.values())).schema
    keys = [{"@id": f"{config}/{name}"} for name in KEYS[config]]
    rows = ", ".join(f"{split} {table.num_rows}" for split, table in parts.items())
    return {
        "@type": "cr:RecordSet",
        "@id": config,
        "name": config,
        "description": f"{ROWS[config]} Rows: {rows}.",
        "key": keys if len(keys) > 1 else keys[0],
        "field": [_field(config, column, MEANINGS[config][column.name]) for column in schema],
    }


def _field(config: str, column: "pa.Field[Any]", meaning: str) -> dict[str, object]:
    """A column; one of structs has its parts as sub-fields, found in it by their path."""
    field = _named(f"{config}/{column.name}", column.name, column.type) | {"description": meaning}
    if column.type == AUDIO:
        return field | {"dataType": "sc:AudioObject", "source": _source(config, column.name, "bytes")}
    inner = _inner(column.type)
    if not pa.types.is_struct(inner):
        return field | {"source": _source(config, column.name)}
    parts = list(_parts(config, column.name, inner, listed=pa.types.is_list(column.type)))
    return field | {"source": _source(config, column.name), "subField": parts}


def _parts(
    config: str, column: str, kind: pa.DataType, above: tuple[str, ...] = (), *, listed: bool
) -> Iterator[dict[str, object]]:
    assert isinstance(kind, pa.StructType)  # noqa: S101 - told to mypy; `_inner` was asked
    for n in range(kind.num_fields):
        part = kind.field(n)
        if listed and pa.types.is_list(part.type):
            # a path of Croissant 1.0 cannot say which item of the outer list an inner one is of, and its reader fails
            # at it; the description of the column names these parts
            continue
        path = (*above, part.name)
        field = _named("/".join((config, column, *path)), part.name, part.type)
        field["source"] = _source(config, column, ".".join(path))
        if pa.types.is_struct(_inner(part.type)):
            inside = listed or pa.types.is_list(part.type)
            field["subField"] = list(_parts(config, column, _inner(part.type), path, listed=inside))
        yield field


def _named(identifier: str, name: str, kind: pa.DataType) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": identifier, "name": name}
    if pa.types.is_list(kind):
        field["repeated"] = True
    if not pa.types.is_struct(_inner(kind)):
        field["dataType"] = _data_type(_inner(kind))
    return field


def _source(config: str, column: str, path: str | None = None) -> dict[str, object]:
    source: dict[str, object] = {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": column}}
    return source | ({"transform": {"jsonPath": path}} if path else {})


def _inner(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if isinstance(kind, pa.ListType) else kind


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_string(kind):
        return "sc:Text"
    raise ValueError(f"no data type of Croissant is known for {kind}")


def _licences(configs: Tables) -> list[str]:
    """The licences of sources, writers and voices in the rows, as addresses where SPDX has one."""
    columns = ("source_licence", "writer_licence", "voice_licence")
    found = sorted({value for name in columns for value in _values(configs, name)})
    return [f"https://spdx.org/licenses/{one}" if one.casefold() in REDISTRIBUTABLE else one for one in found]


def _values(configs: Tables, column: str) -> list[str]:
    tables = [table for parts in configs.values() for table in parts.values() if column in table.column_names]
    return sorted({str(value) for table in tables for value in table.column(column).unique().to_pylist()})
