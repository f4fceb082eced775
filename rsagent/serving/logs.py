"""The servers' log: lines of JSON on stderr that hold names, numbers and codes, never a picture, a question or a key."""

from __future__ import annotations

import json
import logging
import sys
from time import gmtime, strftime

log = logging.getLogger("rsagent.serve")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event and its facts, with the traceback of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = strftime("%Y-%m-%dT%H:%M:%S", gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr() -> None:
    """Write the server's log, and the warnings of the HTTP server, as lines of JSON to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("rsagent.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
