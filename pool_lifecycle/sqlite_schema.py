"""The tables of a state database, and how a database of an older version becomes one of today's.

Every row has a text, written by `serialized`, and a seal: a checksum over the text and the row's key, so that
a row that was damaged, or that stands in the place of another one, is not taken for what was stored. What a
version was like is checked in as a database under `tests/databases`: whoever changes a table here raises
VERSION, adds the step from the version before to MIGRATIONS, and checks in one more.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable

VERSION = 1
"""Of the tables below, in the header of the file (`user_version`)."""

APPLICATION = 0x706C6D64
"""In the header of the file, too (`application_id`): whose database this is."""

TABLES = {
    "pools": """CREATE TABLE pools (
        pool_id TEXT PRIMARY KEY NOT NULL, text TEXT NOT NULL, seal INTEGER NOT NULL)""",
    "leases": """CREATE TABLE leases (
        pool_id TEXT NOT NULL, token INTEGER NOT NULL, text TEXT NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (pool_id, token))""",
    "host": """CREATE TABLE host (
        only INTEGER PRIMARY KEY CHECK (only = 1), text TEXT NOT NULL, seal INTEGER NOT NULL)""",
    "history": """CREATE TABLE history (
        pool_id TEXT NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL, seal INTEGER NOT NULL,
        PRIMARY KEY (pool_id, number)) WITHOUT ROWID""",
    "forgotten": """CREATE TABLE forgotten (
        number INTEGER PRIMARY KEY, pool_id TEXT NOT NULL UNIQUE)""",
    "damaged": """CREATE TABLE damaged (
        number INTEGER PRIMARY KEY, at TEXT NOT NULL, origin TEXT NOT NULL, key TEXT, text BLOB)""",
    "beats": """CREATE TABLE beats (
        only INTEGER PRIMARY KEY CHECK (only = 1), count INTEGER NOT NULL)""",
}
"""`beats` counts how often the write-ahead log was begun anew; `damaged` has rows that could not be read."""

MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""By version: what makes the next one of it. Each runs in a transaction of its own."""


def seal(text: bytes, *key: object) -> int:
    """The checksum that goes with a text under a key."""
    return zlib.crc32(text, zlib.crc32(repr(key).encode()))


def make(connection: sqlite3.Connection) -> None:
    """All the tables, empty. Within the caller's transaction."""
    for statement in TABLES.values():
        connection.execute(statement)
    connection.execute("INSERT INTO beats VALUES (1, 0)")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def upgrade(connection: sqlite3.Connection) -> None:
    """Make it one of today's version, step by step; a step that fails has changed nothing."""
    for version in range(version_of(connection), VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            MIGRATIONS[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def version_of(connection: sqlite3.Connection) -> int:
    """The version of its tables."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def defect(connection: sqlite3.Connection) -> str:
    """Why it cannot be used as it is, as the end of a sentence that begins with "as"; empty if it can.

    Raises sqlite3.Error where it is too damaged even to ask.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = version_of(connection)
    if application == APPLICATION and version > VERSION:
        return f"a newer program made it (its version is {version}, the newest known here {VERSION})"
    if application != APPLICATION or version < 1:
        return "it is damaged, or another program's"
    connection.execute("PRAGMA cell_size_check = ON")
    ((found, *_), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        return "it is damaged"
    return "" if version < VERSION or _tables(connection) == TABLES else "its tables are damaged"


def _tables(connection: sqlite3.Connection) -> dict[str, str]:
    listed = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return dict(listed.fetchall())
