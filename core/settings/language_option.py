"""The option --language, which must be known before any module with texts is imported.

It imports nothing of the program, so that the command line can call it first.
"""

import os
from collections.abc import Sequence
from itertools import pairwise

OPTION, VARIABLE = "--language", "HEARTHTUNE_LANGUAGE"


def set_language(arguments: Sequence[str]) -> None:
    """Sets the environment variable, for this process and its children, to what the arguments say after --language.

    Whether it is a language that the program has is checked where the other options are.
    """
    for word, following in pairwise([*arguments, ""]):
        name, equals, value = word.partition("=")
        if name == OPTION and (value or following):
            os.environ[VARIABLE] = value if equals else following
