"""The figures of all prepared rows, and warnings about them in plain words."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from core.data.prepared.prepared_data import PassResult, PreparedData
from core.problems import mark, tr, trn
from core.settings.steps import steps_per_epoch
from core.settings.training_section import TrainingConfig

HISTOGRAM_BINS = 24
CUT_SHARE = 0.05  # if a larger share of the rows is cut, there is a warning
MIN_TRAINED_SHARE = 0.01  # of the tokens; if fewer are trained on, there is a warning
# If this share of the rows has the same answer, there is a warning: a model that always gives it is right nine times in
# ten, whatever it is asked.
SAME_ANSWER_SHARE = 0.9
MIN_SAME_ANSWERS = 5  # fewer may well be the same by chance

# The warnings that have several forms.
CUT = mark(
    "{cut:,} of {rows:,} rows ({share:.0%}) are cut at the end and lose {tokens:,} tokens: raise the length on the "
    "Model tab, or leave these rows out (data.drop_long_rows)."
)
CUT_TEXT = mark(
    "{cut:,} of {rows:,} rows ({share:.0%}) are cut at the end and lose {tokens:,} tokens: raise the length on the "
    "Model tab, or leave these rows out (data.drop_long_rows); a text file can also be read line by line, or as one "
    "row, which loses nothing (data.text_rows)."
)
NO_END_TOKEN = mark(
    "{missing:,} of {rows:,} rows have no end token, because the tokenizer has none (eos_token): training on these "
    "teaches the model not to stop."
)
WITHOUT_END = mark(
    "{missing:,} of {rows:,} rows have no end token ({end}) in the part that is trained on: training on these teaches "
    "the model not to stop."
)
UNFILLED = mark(
    "{rows:,} rows have an unfilled placeholder such as {placeholder} in the part that is trained on: the model would "
    "learn to write exactly that; fill in the placeholders first (data.fill_in)."
)
SHARED = mark(
    "{shared:,} of {rows:,} validation rows are also in the training set: validation loss will look better than it is; "
    'tick "Leave out duplicates" (data.drop_duplicates).'
)
SHARED_WITH_FILE = mark(
    "{shared:,} of {rows:,} validation rows are also in the training set: validation loss will look better than it is; "
    "remove these rows from one of the two files."
)
SAME_ANSWER = mark(
    '{same:,} of {rows} ({share:.0%}) have the same answer, "{answer}": the model learns to write that whatever it '
    "reads; check which column is the answer."
)
EMPTY_ANSWER = mark(
    "{same:,} of {rows} ({share:.0%}) have an empty answer: the model learns to write that whatever it reads; check "
    "which column is the answer."
)
SAME_TEXT = mark(
    '{same:,} of {rows} ({share:.0%}) have the same text to learn, "{answer}": the model learns to write that whatever '
    "it reads; check what is trained on."
)
EMPTY_TEXT = mark(
    "{same:,} of {rows} ({share:.0%}) have an empty text to learn: the model learns to write that whatever it reads; "
    "check what is trained on."
)


@dataclass(frozen=True)
class Survey:
    """Figures of training and validation rows together.

    `tokens` and `trained_tokens` are counted after cutting, `longest` before; `longest_row` is that row's number in its
    file. `edges` and `counts` are a histogram of lengths in tokens before cutting; there is one more edge than counts.
    If `pieces`, rows are whole files split at the maximum length, and the pieces are counted as rows. `repeated` is the
    number of training rows with the text of an earlier one, `shared` that of validation rows that are also in the
    training set. `languages` are ISO 639-1 codes with their share (0 to 1) of the sampled texts. `epoch_steps` is the
    number of optimizer steps per epoch, with `step_rows` rows each. `placeholders` are the names of the first ones in
    the `unfilled` rows.
    """

    rows: int
    train_rows: int
    validation_rows: int
    tokens: int
    trained_tokens: int
    cut_rows: int
    lost_tokens: int
    longest: int
    longest_row: int
    longest_is_validation: bool
    pieces: bool
    edges: tuple[int, ...]
    counts: tuple[int, ...]
    without_end: int
    unfilled: int
    repeated: int
    shared: int
    languages: tuple[tuple[str, float], ...]
    epoch_steps: int
    step_rows: int
    warnings: tuple[str, ...]
    placeholders: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        return self.train_rows + self.validation_rows

    @property
    def trained_share(self) -> float:
        return self.trained_tokens / max(self.tokens, 1)


def survey(data: PreparedData, training: TrainingConfig, end_name: str) -> Survey:
    """The figures of all examples. `end_name` is the end mark to name in warnings, such as <|eot_id|>."""
    import numpy as np

    train, validation = data.train.figures, data.validation.figures
    both = np.concatenate([train, validation])
    longest = int(both["length"].argmax())
    edges, counts = _histogram(both["length"])
    cut = both["length"] > both["kept"]
    figures = {
        "rows": data.rows,
        "train_rows": len(train),
        "validation_rows": len(validation),
        "tokens": int(both["kept"].sum()),
        "trained_tokens": int(both["trained"].sum()),
        "cut_rows": int(cut.sum()),
        "lost_tokens": int((both["length"] - both["kept"]).sum()),
        "longest": int(both["length"][longest]),
        "longest_row": int(both["row"][longest]),
        "longest_is_validation": data.own_validation is not None and longest >= len(train),
        "pieces": data.is_split,
        "edges": edges,
        "counts": counts,
        "without_end": int((~both["ends"] & ~cut).sum()),
        "unfilled": int(both["unfilled"].sum()),
        "repeated": len(train) - len(np.unique(train["hash"])),
        "shared": int(np.isin(validation["hash"], train["hash"]).sum()),
        "languages": data.languages,
        "epoch_steps": steps_per_epoch(len(train), training),
        "step_rows": training.effective_batch,
        "placeholders": data.placeholders,
    }
    without_warnings = Survey(**figures, warnings=())
    return replace(without_warnings, warnings=tuple(_warnings(without_warnings, data, end_name)))


def placeholder(figures: Survey) -> str:
    """The first of the unfilled placeholders, such as {{name}}."""
    return f"{{{{{figures.placeholders[0]}}}}}"


def _histogram(lengths) -> tuple[tuple[int, ...], tuple[int, ...]]:
    import numpy as np

    top = int(lengths.max()) + 1
    width = max(ceil(top / HISTOGRAM_BINS), 1)
    edges = np.arange(0, top + width, width)
    counts, _ = np.histogram(lengths, edges)
    return tuple(map(int, edges)), tuple(map(int, counts))


def _warnings(figures: Survey, data: PreparedData, end_name: str) -> Iterator[str]:
    yield from data.warnings
    if figures.cut_rows / max(figures.used, 1) > CUT_SHARE:
        yield tr(
            # A text file read as one row is split instead of cut.
            CUT_TEXT if data.shape.name == "text" else CUT,
            cut=figures.cut_rows,
            rows=figures.used,
            share=figures.cut_rows / figures.used,
            tokens=figures.lost_tokens,
        )
    if figures.without_end:
        missing = {"missing": figures.without_end, "rows": figures.used}
        yield tr(WITHOUT_END, end=end_name, **missing) if end_name else tr(NO_END_TOKEN, **missing)
    if figures.trained_share < MIN_TRAINED_SHARE:
        yield tr("Less than 1% of the tokens are trained on: check which column is the answer.")
    yield from _about_answers(data)
    if figures.unfilled:
        yield tr(UNFILLED, rows=figures.unfilled, placeholder=placeholder(figures))
    if data.special_rows:
        yield trn(
            "{count:,} row has a special token such as {token} in their text: the model takes it for a real one; "
            "remove it unless you want that.",
            "{count:,} rows have a special token such as {token} in their text: the model takes it for a real one; "
            "remove it unless you want that.",
            data.special_rows,
            token=data.special_token,
        )
    yield from data.change_notes
    if figures.shared:
        shared = SHARED_WITH_FILE if data.own_validation else SHARED
        yield tr(shared, shared=figures.shared, rows=figures.validation_rows)
    if len(figures.languages) > 1:
        languages = ", ".join(f"{code} {share:.0%}" for code, share in figures.languages)
        yield tr(
            "The answers are in several languages ({languages}): the model may answer in any of them.",
            languages=languages,
        )
    validation = data.own_validation
    if validation and validation.shape.name != data.shape.name:
        reason = validation.shape.reason
        yield tr("Validation rows are read in a different way from training rows: {reason}.", reason=reason)


def _about_answers(data: PreparedData) -> Iterator[str]:
    """A warning for each source in which nearly all answers are the same."""
    if _is_the_same(data):
        yield _about_answer(data, trn("{count:,} row", "{count:,} rows", data.same_answer.of))
    if (validation := data.own_validation) and _is_the_same(validation):
        rows = trn("{count:,} validation row", "{count:,} validation rows", validation.same_answer.of)
        yield _about_answer(validation, rows)


def _is_the_same(source: PreparedData | PassResult) -> bool:
    return source.same_answer.rows >= MIN_SAME_ANSWERS and source.same_answer.share >= SAME_ANSWER_SHARE


def _about_answer(source: PreparedData | PassResult, rows: str) -> str:
    """The warning about an answer that nearly all of these rows have; `rows` is their number in words."""
    same = source.same_answer
    is_text = source.shape.name in ("text", "columns")
    if same.answer:
        template = SAME_TEXT if is_text else SAME_ANSWER
        return tr(template, same=same.rows, rows=rows, share=same.share, answer=same.answer)
    return tr(EMPTY_TEXT if is_text else EMPTY_ANSWER, same=same.rows, rows=rows, share=same.share)
