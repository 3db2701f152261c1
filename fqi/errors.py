"""Errors that a user can mend: one sentence, exit code 2, no traceback."""


class UserError(Exception):
    """Names the thing, what was expected, what was found and the next step."""


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The user stopped the work: what is kept and the command that goes on."""
