"""What SQLite's errors mean, in words that say what to do. They are told apart by SQLite's own names for them."""

from nas_tf.trial import EvaluationError, UserError

_LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
# By the beginnings of the names. What is in neither list is damage.
_ADVICE = {
    ("SQLITE_FULL", "SQLITE_IOERR"): "free some space, see that the disk works",
    (
        "SQLITE_READONLY",
        "SQLITE_CANTOPEN",
        "SQLITE_PERM",
        "SQLITE_AUTH",
    ): "see that you may read and write it and its folder",
}


def is_locked(error):
    """bool: whether another program's lock is all that is wrong."""
    return _name(error).startswith(_LOCKED)


def is_unwritable(error):
    """bool: whether the file or its folder may not be written, or is not there."""
    return _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY"))


def in_words(error, path, doing):
    """Returns the exception to raise instead of an error of SQLite's.

    Args:
        error: the `sqlite3.DatabaseError`.
        path: of the file.
        doing: `"open"`, `"read"` or `"write"`.
    """
    kind = UserError if doing == "open" else EvaluationError
    if is_locked(error):
        return kind(
            f"{path} is locked by another program, such as an open SQL shell: end its transaction or close it, and "
            "give the same command again"
        )
    for names, advice in _ADVICE.items():
        if _name(error).startswith(names):
            return kind(
                f"Cannot {doing} {path}: {error}. Everything finished before is kept: {advice}, and give the same "
                "command again"
            )
    return UserError(
        f"{path} is damaged ({error}). Expected the records of a search: restore a copy of it, or choose another "
        "--run_dir"
    )


def _name(error):
    return getattr(error, "sqlite_errorname", "")  # Python's own errors about a database have none
