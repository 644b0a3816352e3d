"""A database that keeps runs: whether it can, found out in one attempt, before MLflow tries for minutes."""

import tempfile
from pathlib import Path

from bar_model.errors import BadInput, one_line
from pipeline.redaction import redacted

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite URI; None for other databases.

    Raises:
        BadInput: it is a database in memory, which would end with the process.
    """
    if uri.partition(":")[0].partition("+")[0] != "sqlite":
        return None
    path = uri.partition("://")[2].removeprefix("/").partition("?")[0]
    if path in ("", ":memory:"):
        raise BadInput(f"tracking.uri {uri} keeps runs in memory alone: name a file, such as sqlite:///mlflow.db")
    return Path(path.removeprefix("file:"))


def check_file(file: Path) -> None:
    """Checks that a database file can be written, or made in its folder; nothing is left there.

    Raises:
        BadInput: it can't.
    """
    there = next(each for each in (file, *file.parents) if each.exists())
    if file.is_dir() or (there != file and not there.is_dir()):
        raise BadInput(f"tracking.uri: {there} is a {'folder' if there == file else 'file'}: name another database")
    folder = file.parent if there == file else there
    for each in {there, folder}:  # SQLite writes its journal beside the database.
        try:
            tempfile.TemporaryFile(dir=each).close() if each.is_dir() else each.open("r+b").close()
        except OSError as error:
            raise BadInput(
                f"tracking.uri: {file}, where runs are kept, can't be written ({each}: {error.strerror}): work in a "
                "folder of your own, or name a database or server by tracking.uri or MLFLOW_TRACKING_URI"
            ) from error


def check_database(uri: str) -> None:
    """Connects to a database once, and locks an SQLite file for writing.

    Raises:
        BadInput: that fails; the message holds no password.
    """
    import sqlalchemy

    file = sqlite_file(uri)
    if file is not None:
        check_file(file)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            if file is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
                # What stands there already: a database that can only be read refuses it.
                connection.exec_driver_sql(f"PRAGMA user_version = {version}")
                connection.exec_driver_sql("ROLLBACK")
    except Exception as error:  # SQLAlchemy's, a driver's or the system's, of many kinds.
        if "database is locked" in str(error):  # By another process that writes: it is a database, and will be free.
            return
        raise unusable(uri, error) from error


def unusable(uri: str, error: Exception) -> BadInput:
    """Why a database can't keep runs, in one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, ImportError):
        reason = f"{one_line(error)}; install the database's driver"
    return BadInput(f"tracking.uri {redacted(uri)} can't be opened ({reason}): correct it, or name another database")
