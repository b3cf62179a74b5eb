"""Every error that is a sentence to the person who uses the program."""


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one sentence for the person who gave it."""


class DataError(ValueError):
    """Rows that cannot be used; the message is one sentence with the way out."""


class TemplateError(ValueError):
    """A row that cannot be rendered; the message is a few words that complete "left out:"."""


class ModelError(ValueError):
    """A model that cannot be had or loaded; the message is one sentence with the way out."""


class RunError(ValueError):
    """A run that is not there or cannot be read; the message is one sentence."""


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is one sentence with the way out."""


class Busy(RuntimeError):
    """Something else is going on; the message is one sentence that says what."""


class BlindError(ValueError):
    """A test that cannot be, or a vote that cannot be kept; the message is one sentence."""


class PromptTooLong(ModelError):
    """The prompt is longer than the model can read."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, short enough for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
