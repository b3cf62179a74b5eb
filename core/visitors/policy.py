"""What visitors of a page without login may do, as one value: bounds on settings, models, rows and uploads.

Two policies: OPEN for a page whose owner allowed it (`--i-know`), and DEMO for strangers (`HEARTHTUNE_DEMO=1`).
"""

from dataclasses import dataclass

from core.disk.sizes import GIB
from core.problems import NotAllowed, mark, tr
from core.settings.paths import resolve_path
from core.settings.presets import DEMO as DEMO_PRESET
from core.settings.presets import PRESETS_DIR, find_preset
from core.settings.run_config import RunConfig, fields, flatten
from core.settings.sections import ModelConfig

MIB = GIB // 1024


@dataclass(frozen=True)
class Policy:
    """`most` has the largest value of each bounded setting; `rows_per_step` bounds batch size times accumulation.

    `in_words` is a template that `rules` translates and fills with the numbers. With `from_hub`, models and datasets
    come from Hugging Face too. `waiting` is how many runs may wait for their turn; 0 for no queue. `actions` and
    `actions_of_all` are how many times a minute one visitor, and all together, may use the model or upload something; 0
    for no limit.
    `kept_seconds` is how long a visitor's things are kept; None for as long as anyone's.
    """

    in_words: str
    from_hub: bool
    most: dict[str, int]
    rows_per_step: int
    sample_prompts: int
    blind_prompts: int
    measured_rows: int
    new_tokens: int
    characters: int  # of all messages that are asked at once
    upload_bytes: int
    uploaded_rows: int  # of a Parquet file, which can hold very many in a few bytes
    run_seconds: int
    exported_bytes: int  # of one export
    waiting: int = 0
    actions: int = 0
    actions_of_all: int = 0
    kept_seconds: int | None = None

    @property
    def rules(self) -> str:
        """The bounds as a text for visitors."""
        return tr(
            self.in_words,
            steps=f"{self.most['training.max_steps']:,}",
            rows=self.rows_per_step,
            tokens=f"{self.most['model.max_seq_length']:,}",
            upload=f"{self.upload_bytes // MIB} MB",
            minutes=self.run_seconds // 60,
            hours=self.run_seconds // 3600,
            kept=(self.kept_seconds or 0) // 60,
        )

    def check_model(self, config: ModelConfig) -> bool:
        """Whether the model comes from Hugging Face, and not from this project. Raises NotAllowed."""
        if config.trust_remote_code is not None:
            raise NotAllowed(
                "No model may run code of its own on this page; leave Run this model's own code "
                "(model.trust_remote_code) empty.",
                settings=("model.trust_remote_code",),
            )
        self._check_bound("model.max_seq_length", config.max_seq_length)
        demo = find_preset(DEMO_PRESET).config.model.model_name
        place = resolve_path(config.model_name)
        if place is not None and place == resolve_path(demo):
            return False
        if place is not None or not self.from_hub:
            where = tr("{model} or a model on Hugging Face", model=demo) if self.from_hub else demo
            raise NotAllowed(
                "{model:.80} cannot be used on this page; choose {where}.",
                settings=("model.model_name",), model=config.model_name, where=where,
            )  # fmt: skip
        return True

    def check_settings(self, config: RunConfig) -> None:
        """Raises NotAllowed for a setting out of bounds. Models, rows and adapters are checked apart."""
        values, training = flatten(config), config.training
        for name in self.most:
            self._check_bound(name, values[name])
        if training.effective_batch > self.rows_per_step:
            raise NotAllowed(
                "Batch size times accumulation can be at most {most} on this page, not {value}.",
                settings=("training.per_device_train_batch_size", "training.gradient_accumulation_steps"),
                most=self.rows_per_step, value=training.effective_batch,
            )  # fmt: skip
        if len(training.sample_prompts) > self.sample_prompts:
            raise NotAllowed(
                "At most {most} prompts can be answered during training on this page.",
                settings=("training.sample_prompts",), most=self.sample_prompts,
            )  # fmt: skip
        if training.report_to != "none":
            raise NotAllowed(
                "Trackers cannot be used on this page, because they would use its owner's account.",
                settings=("training.report_to",),
            )
        if training.hub_model_id:
            raise NotAllowed(
                "Runs do not push checkpoints from this page; leave Push each checkpoint to empty.",
                settings=("training.hub_model_id",),
            )

    def _check_bound(self, name: str, value: object) -> None:
        most = self.most[name]
        if not isinstance(value, int) or not 1 <= value <= most:
            title = fields()[name].title
            raise NotAllowed(
                "{title} ({setting}) must be a number from 1 to {most:,} on this page, not {value}.",
                settings=(name,), title=title, setting=name, most=most, value=value,
            )  # fmt: skip


def is_row_of_a_preset(path: str) -> bool:
    """Whether this is a file of rows that comes with this project."""
    place = resolve_path(path)
    return place is not None and place.is_file() and place.parent == (PRESETS_DIR / "data").resolve()


OPEN = Policy(
    in_words=mark(
        "Others use this page as well. You can train the demo model or a model from Hugging Face, on a preset's rows, "
        "on public datasets or on files that you upload (at most {upload}). A run can have up to {steps} steps, {rows} "
        "rows per step, {tokens} tokens per row, and {hours} hours. You see only your own runs. For gated models and "
        "datasets, enter a token of your own."
    ),
    from_hub=True,
    most={
        "model.max_seq_length": 4096,
        "adapter.r": 128,
        "training.max_steps": 1000,
        "training.per_device_train_batch_size": 32,
        "training.gradient_accumulation_steps": 64,
        "training.save_total_limit": 5,
    },
    rows_per_step=64,
    sample_prompts=10,
    blind_prompts=100,
    measured_rows=1000,
    new_tokens=1024,
    characters=100_000,
    upload_bytes=100 * MIB,
    uploaded_rows=1_000_000,
    run_seconds=4 * 3600,
    exported_bytes=5 * 10**9,
)  # fmt: skip

DEMO = Policy(
    in_words=mark(
        "This is a demo that others use as well. You can train the demo model on the preset's rows or on a file of "
        "your own (at most {upload}). A run can have up to {steps} steps, {rows} rows per step, {tokens} tokens per "
        "row, and {minutes} minutes. One run trains at a time; yours may have to wait for its turn. You see only your "
        "own runs, and everything you do here is deleted after {kept} minutes."
    ),
    from_hub=False,
    most={
        "model.max_seq_length": 512,
        "adapter.r": 64,
        "training.max_steps": 200,
        "training.per_device_train_batch_size": 32,
        "training.gradient_accumulation_steps": 32,
        "training.save_total_limit": 2,
    },
    rows_per_step=32,
    sample_prompts=5,
    blind_prompts=20,
    measured_rows=200,
    new_tokens=256,
    characters=4000,
    upload_bytes=MIB,
    uploaded_rows=20_000,
    run_seconds=600,
    exported_bytes=10**8,
    waiting=20,
    actions=30,
    actions_of_all=300,
    kept_seconds=3600,
)  # fmt: skip
