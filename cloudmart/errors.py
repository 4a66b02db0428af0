"""The one exception that people see as a message, never as a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message is one line a problem and says what was found, where, and what is allowed. The command line prints it
    to stderr after ``error:`` and exits with ``exit_code`` (2 unless a subclass says otherwise).
    """

    exit_code = 2
