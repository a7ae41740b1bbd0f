"""Parquet files: rows in, answers out; needs pyarrow."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final

from secondsight.errors import UserError
from secondsight.extras import needed

_COLUMNS: Final = ("id", "image", "question", "text", "finish_reason", "error")


def batches(file: BinaryIO, columns: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
    """Records of a parquet file, so many in memory at a time.

    Args:
        file: The file.
        columns: Those of interest, as far as they are there.
        size: How many records are in memory.

    Raises:
        UserError: It is no parquet file.
        MissingPackageError: pyarrow is not installed.
    """
    with needed("bulk", "Reading parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise UserError(f"This is no parquet file: {error}") from None
    there = [name for name in columns if name in table.schema_arrow.names]
    for batch in table.iter_batches(size, columns=there or table.schema_arrow.names[:1]):
        yield from batch.to_pylist()


class RowGroups:
    """One column of a parquet file, a row group of it in memory at a time.

    Args:
        file: The file.
        column: The column.
    """

    def __init__(self, file: BinaryIO, column: str) -> None:
        with needed("bulk", "Reading parquet"):
            import pyarrow.parquet as pq
        self._table, self._column = pq.ParquetFile(file), column
        metadata = self._table.metadata
        counts = [metadata.row_group(one).num_rows for one in range(self._table.num_row_groups)]
        self._ends = list(accumulate(counts))
        self._held: tuple[int, Any] = (-1, None)
        self._lock = threading.Lock()

    def record(self, number: int) -> Any:
        """What stands in a row.

        Raises:
            UserError: The file has fewer rows than it had.
        """
        group = bisect_right(self._ends, number)
        if group == len(self._ends):
            raise UserError(f"The parquet file has no row {number} any more.")
        with self._lock:
            if self._held[0] != group:
                read = self._table.read_row_group(group, columns=[self._column])
                self._held = (group, read.column(0))
            before = self._ends[group - 1] if group else 0
            return self._held[1][number - before].as_py()


def write(path: Path, records: Iterable[dict[str, Any]], size: int = 4096) -> None:
    """Write answers as parquet, in the order given, the same bytes for the same answers.

    Raises:
        MissingPackageError: pyarrow is not installed.
    """
    with needed("bulk", "Writing parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    schema = pa.schema([(name, pa.string()) for name in (*_COLUMNS, "views")])
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as writer:
        for one in records:
            views = one.get("views")
            plain = {name: one.get(name) for name in _COLUMNS}
            waiting.append({**plain, "views": None if views is None else json.dumps(views)})
            if len(waiting) == size:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
