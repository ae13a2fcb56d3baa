# SPDX-License-Identifier: Apache-2.0
"""Clips as WebDataset archives, for those who stream: for each its sound, and a file of JSON with the other columns."""

import io
import json
import tarfile

import pyarrow as pa


def archive_of(clips: pa.Table) -> bytes:
    """A tar of a table of clips; the same rows give the same bytes."""
    stream = io.BytesIO()
    # USTAR: readers of WebDataset stream without looking back, and need no extended headers for our names
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for row in clips.to_pylist():
            audio = row.pop("audio")["bytes"]
            text = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
            for ending, content in (("flac", audio), ("json", text)):
                member = tarfile.TarInfo(f"{row['clip_id']}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
