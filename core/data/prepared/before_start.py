"""What is so badly wrong with the rows that a run on them would most likely be for nothing.

The warnings of the survey are about much more; these few are worth a question before training begins.
"""

from collections.abc import Iterator

from core.data.display import for_display
from core.data.prepared.left_out import CONSENT_SHARE, LeftOut
from core.data.prepared.prepared_data import PassResult, PreparedData
from core.data.prepared.same_answer import SameAnswer
from core.data.prepared.survey import MIN_SAME_ANSWERS, MIN_TRAINED_SHARE, SAME_ANSWER_SHARE, Survey, placeholder
from core.problems import tr
from core.settings.sections import DataConfig

UNFILLED_SHARE = 0.01  # of the rows; below it they may be rows of code, in which double braces are nothing unusual
MOST = 0.5  # of the rows
SHOWN_CHARACTERS = 40  # of the answer that all rows have


def badly_wrong(data: PreparedData, found: Survey, config: DataConfig, max_seq_length: int) -> tuple[str, ...]:
    """A sentence for each thing, none if all is well. `max_seq_length` is the length that rows are cut to.

    Raises DataError if it is not clear how to read the rows: nothing can be trained before that is decided.
    """
    for question in data.questions_of_shape():
        raise question
    return tuple(_findings(data, found, config, max_seq_length))


def _findings(data: PreparedData, found: Survey, config: DataConfig, max_seq_length: int) -> Iterator[str]:
    used = max(found.used, 1)
    if found.unfilled / used > UNFILLED_SHARE:
        yield tr(
            "{unfilled:,} of {rows:,} rows have placeholders that are not filled in, such as {placeholder}: the model "
            "would learn to write them.",
            unfilled=found.unfilled,
            rows=found.used,
            placeholder=placeholder(found),
        )
    same = data.same_answer
    if same.rows >= MIN_SAME_ANSWERS and same.share >= SAME_ANSWER_SHARE:
        yield _about_answer(same)
    if not found.pieces and found.cut_rows / used > MOST:
        yield tr(
            "{cut:,} of {rows:,} rows are longer than {length:,} tokens and lose their end.",
            cut=found.cut_rows,
            rows=found.used,
            length=max_seq_length,
        )
    for source in filter(None, (data, data.own_validation)):
        yield from _about_left_out(source, config)
    if found.trained_share < MIN_TRAINED_SHARE:
        yield tr(
            "Only {trained:,} of {tokens:,} tokens belong to answers: there is almost nothing to learn.",
            trained=found.trained_tokens,
            tokens=found.tokens,
        )


def _about_answer(same: SameAnswer) -> str:
    if not same.answer:
        return tr(
            "{same:,} of {rows:,} rows have the same answer, nothing: the model would learn only that.",
            same=same.rows,
            rows=same.of,
        )
    return tr(
        "{same:,} of {rows:,} rows have the same answer, “{answer}”: the model would learn only that.",
        same=same.rows,
        rows=same.of,
        answer=_short(same.answer),
    )


def _about_left_out(source: PreparedData | PassResult, config: DataConfig) -> Iterator[str]:
    left: LeftOut = source.left_out
    # A person who agreed that rows are left out may still not know that these are most of them.
    if left.share > (MOST if config.allow_left_out else CONSENT_SHARE):
        yield tr(
            "{left_out:,} of {rows:,} rows would be left out: {reasons}.",
            left_out=left.total,
            rows=source.rows,
            reasons=left.in_words(),
        )


def _short(text: str) -> str:
    text = for_display(text)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
