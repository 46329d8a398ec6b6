"""Status codes of requests, the error that carries them, and their HTTP equivalents.

The names and numbers of codes are gRPC's, which TensorFlow's own errors share.
"""

from __future__ import annotations

CODES = {
    "OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10,
    "OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}  # fmt: skip

_HTTP = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# TensorFlow Serving truncates its gRPC messages at this length.
_MAX_LENGTH = 1024


class ServingError(Exception):
    """A request that cannot be answered; the client gets the code and the message.

    Args:
        code: str, a key of `CODES`.
        message: str.

    Example:
        >>> ServingError("NOT_FOUND", "no model of that name").http
        404
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http(self) -> int:
        """The HTTP status of the code; 500 for codes without one."""
        return _HTTP.get(self.code, 500)

    @property
    def short(self) -> str:
        """The message, truncated for a gRPC trailer or a log."""
        return (
            self.message if len(self.message) <= _MAX_LENGTH else self.message[:_MAX_LENGTH] + "...TRUNCATED"
        )


def invalid(message: str) -> ServingError:
    """The error for an invalid request: INVALID_ARGUMENT."""
    return ServingError("INVALID_ARGUMENT", message)


def code_of(number: int) -> str:
    """The name of a code's number.

    Example:
        >>> code_of(5), code_of(99)
        ('NOT_FOUND', 'UNKNOWN')
    """
    return next((name for name, value in CODES.items() if value == number), "UNKNOWN")
