"""The errors rsagent raises on purpose. Each message is one line: what, where, what to do."""

from __future__ import annotations


class RSAgentError(Exception):
    """Base of everything rsagent raises on purpose; `exit_code` is what the command line returns for it."""

    exit_code: int = 1


class UserError(RSAgentError):
    """The user's input cannot be used (a file, a question, an option, a checkpoint). Exit code 2."""

    exit_code = 2


class ImageError(UserError):
    """A picture was refused; the message names the file, the reason and what to do."""


class CheckpointError(UserError):
    """A checkpoint folder is incomplete, damaged, of another version, or does not fit."""


class SettingsError(UserError):
    """A setting, an option or a configuration file is wrong."""


class EngineError(RSAgentError):
    """The engine could not answer (out of memory, time-out, a server that is away). Exit code 1."""


class ImageLost(EngineError):
    """The engine no longer holds the pixels of a digest (a restart, a full cache): `prepare` the picture again."""


class ServerAway(EngineError):
    """A server of experts is not reachable, not ready or went away: the same request may well succeed later."""


class ServerLost(ServerAway):
    """A server went away while it worked on the request, which may be why."""


class AllExpertsFailed(EngineError):
    """No expert gave a report, so there is nothing to compose."""


class MissingExtra(UserError):
    """An optional dependency is not installed; the message names the pip line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Name the missing `package`, the `extra` that brings it and what it is needed for."""
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'rsagent[{extra}]'")
