# SPDX-License-Identifier: Apache-2.0
"""The one exception type for a user's mistake."""


class SeasError(Exception):
    """A mistake the user can mend.

    The message is one sentence that says what was seen, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2.
    """
