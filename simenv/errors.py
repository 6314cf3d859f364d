"""The one tree of errors. Each child is also a builtin, so a caller may catch either."""


class SimenvError(Exception):
    """Root of everything simenv raises on purpose."""


class DataError(SimenvError, ValueError):
    """Input data is not what was asked for; the message names place, finding and remedy."""


class UnknownIdError(SimenvError, KeyError):
    """An outside id is not in the index it was looked up in."""

    def __str__(self) -> str:
        """KeyError shows a repr; a sentence is easier to read."""
        return str(self.args[0]) if self.args else ""


class ActionError(SimenvError, ValueError):
    """A recommender showed a slate that does not exist: wrong shape, unknown item, no place filled."""


class StoreError(SimenvError, OSError):
    """A saved population is damaged, incomplete, of another version, or was not written by simenv."""


class ConfigError(SimenvError, ValueError):
    """Settings contradict each other or the data."""


class LeakageError(SimenvError, ValueError):
    """Something after a user's cut tried to enter what the simulator may know."""


class CacheMissError(SimenvError, LookupError):
    """A replay was asked what was never recorded."""


class RemoteError(SimenvError, ConnectionError):
    """A server did not answer, or not with what was asked for."""


class WorkerError(SimenvError, RuntimeError):
    """A process that was given a part of the work died."""
