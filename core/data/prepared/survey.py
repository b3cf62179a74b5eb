"""What a whole set of rows comes to, in figures and in plain warnings. Knows nothing of files, models or gradio."""

from dataclasses import dataclass
from math import ceil

from core.data.prepared.prepared_data import PreparedData
from core.settings.sections import TrainingConfig
from core.settings.steps import steps_per_epoch

BINS = 24
CUT_SHARE = 0.05  # above this share of rows cut, a warning


@dataclass(frozen=True)
class Survey:
    """Tokens of training and validation rows together, after the cut; `edges` has one more entry than `counts`.

    `longest` is in tokens, before the cut; `longest_row` is its number in the file, or in that of its own for validation.
    `pieces`: rows are whole files, split where the length is full, and what is counted are the pieces. `repeated` counts training rows
    whose text an earlier one has, `shared` the validation rows that also stand in training. `languages` are codes of
    ISO 639-1 with their share of the sampled texts that could be told. `epoch_steps` are optimizer steps, of `step_rows` each.
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

    @property
    def used(self) -> int:
        return self.train_rows + self.validation_rows

    @property
    def trained_share(self) -> float:
        return self.trained_tokens / max(self.tokens, 1)


def survey(data: PreparedData, training: TrainingConfig, end_name: str) -> Survey:
    """Figures of all examples. `end_name` is the end mark that warnings name, such as <|eot_id|>."""
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
    }
    found = Survey(**figures, warnings=())
    return Survey(**figures, warnings=tuple(_warnings(found, data, end_name)))


def _histogram(lengths) -> tuple[tuple[int, ...], tuple[int, ...]]:
    import numpy as np

    top = int(lengths.max()) + 1
    width = max(ceil(top / BINS), 1)
    edges = np.arange(0, top + width, width)
    counts, _ = np.histogram(lengths, edges)
    return tuple(map(int, edges)), tuple(map(int, counts))


def _warnings(found: Survey, data: PreparedData, end_name: str):
    if found.cut_rows / max(found.used, 1) > CUT_SHARE:
        yield (
            f"{found.cut_rows:,} of {found.used:,} rows ({found.cut_rows / found.used:.0%}) are cut at the end and lose "
            f"{found.lost_tokens:,} tokens: raise the length on the Model tab, or shorten the rows{_or_whole_files(data)}."
        )
    if found.without_end:
        yield (
            f"{found.without_end:,} of {found.used:,} rows have no end mark ({end_name}) among what is trained on: from "
            "these the model learns to go on talking."
        )
    if found.trained_share < 0.01:
        yield "Less than 1% of the tokens are trained on: check which column is the answer."
    if found.unfilled:
        yield (
            f"{found.unfilled:,} rows hold an unfilled placeholder such as {data.placeholder} in what is learned: the model "
            "would learn to write just that; fill them in first."
        )
    if data.special_rows:
        yield (
            f"{'1 row has' if data.special_rows == 1 else f'{data.special_rows:,} rows have'} the special token {data.special_token} or another in their own text: the model "
            "takes it for a real one; take it out unless you mean that."
        )
    if found.shared:
        yield (
            f"{found.shared:,} of {found.validation_rows:,} validation rows also stand in training: the check would be "
            f"too kind; {_way_out_of_sharing(data)}."
        )
    if len(found.languages) > 1:
        told = ", ".join(f"{code} {share:.0%}" for code, share in found.languages)
        yield f"The answers are in several languages ({told}): the model may answer in any of them."
    theirs = data.own_validation
    if theirs and theirs.shape.name != data.shape.name:
        yield f"Validation rows are read in another way than training rows: {theirs.shape.reason}."


def _way_out_of_sharing(data: PreparedData) -> str:
    if data.own_validation:
        return "take these rows out of one of the two files"
    return 'tick "Leave out duplicates" (data.drop_duplicates)'


def _or_whole_files(data: PreparedData) -> str:
    return (
        "; of a text file, the whole file as one row loses nothing (data.text_rows)"
        if data.shape.name == "text"
        else ""
    )
