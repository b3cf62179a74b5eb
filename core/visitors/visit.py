"""The workbench as one visitor sees it.

It has the names of `core.workbench.workbench.Workbench` that a page uses, and does what they do: within the policy, and
with what is the visitor's own.
"""

from core.hub_names import Token, exact_name
from core.memory.known_shapes import KNOWN
from core.memory.model_shape import ModelShape
from core.problems import Busy, ConfigError, ModelError, Problem, RunError, mark
from core.runs.run_folder import Run, create_run
from core.runs.snapshot import Snapshot
from core.settings.presets import DEMO, Preset
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.visitors.rights import Rights
from core.visitors.run_queue import Waiting
from core.visitors.visit_parts import VisitBlind, VisitExporting, VisitLab, VisitMeasuring, VisitTrash
from core.workbench.desk import LOADING, PROBING, READING


class Visit(Rights):
    """A view, made anew for each request; what lasts is in `house`."""

    def __init__(self, house, visitor: str):
        super().__init__(house, visitor)
        self.trash, self.lab = VisitTrash(self), VisitLab(self)
        self.measuring, self.blind_test = VisitMeasuring(self), VisitBlind(self)
        self.exporting = VisitExporting(self)
        self.runs_dir, self.rules = self.bench.runs_dir, self.policy.rules
        self.machine, self.memory = self.bench.machine, self.bench.memory

    # The machine and the model

    @property
    def unused_card(self) -> str:
        return self.bench.unused_card

    @property
    def is_warm(self) -> bool:
        return self.bench.is_warm

    @property
    def warm_error(self) -> str:
        return self.bench.warm_error

    @property
    def busy_with(self) -> str:
        return self.bench.busy_with or self._house.doing

    @property
    def model_state(self):
        return self.bench.model_state if self._house.sees_model(self.visitor) else self.blank("model")

    @property
    def compare_ready(self) -> bool:
        return self.owns_model and not self.busy_with

    def presets(self) -> list[Preset]:
        """Those of the program. Whoever runs it may have some of their own, with names of files on this machine."""
        of_the_program = [preset for preset in self.bench.presets() if not preset.is_own]
        return [preset for preset in of_the_program if self.policy.from_hub or preset.name == DEMO]

    def find_preset(self, name: str) -> Preset:
        """By its name only. Raises ConfigError."""
        known = {preset.name: preset for preset in self.presets()}
        if name not in known:
            raise ConfigError(
                "There is no preset {name!r:.80}; the presets are {known}.", name=name, known=", ".join(known)
            )
        return known[name]

    def shape_of(self, config: ModelConfig, token: Token = None, fetch: bool = True) -> ModelShape:
        token, name = self.token(token), exact_name(config.model_name, config.load_in_4bit)
        if self.policy.check_model(config) and (config.revision is not None or name.lower() not in KNOWN):
            revision = config.revision if name == config.model_name else None
            if not fetch and not self._house.hub.is_known(name, "model", revision, token):
                raise ModelError(
                    "The memory of {model} cannot be estimated before its config.json is downloaded.", model=name
                )
            self.check_model(config, token)
        return self.bench.shape_of(config, token, fetch)

    def load_model(self, config: ModelConfig, token: Token = None):
        token = self.token(token)
        self.check_model(config, token)
        with self.turn(LOADING):
            return self.bench.load_model(config, token)

    # Rows

    @property
    def preparing(self):
        return self.bench.preparing if self.owns("rows") else self.blank("rows")

    def look(self, config: RunConfig, token: Token = None):
        token = self.token(token)
        self.check_data(config.data, token)
        return self.bench.look(config, token, with_model=self._may_have(config, token))

    def row(self, config: RunConfig, number: int, token: Token = None):
        token = self.token(token)
        self.check_data(config.data, token)
        self.check_model(config.model, token)
        return self.bench.row(config, number, token)

    def check_rows(self, config: RunConfig, token: Token = None) -> None:
        config, token = self.allowed(config, token)
        with self.turn(READING), self.taking("rows"):
            self.bench.check_rows(config, token)

    def badly_wrong(self, config: RunConfig, token: Token = None) -> tuple[str, ...]:
        if self.busy_with:  # the run will wait for its turn, and nobody reads rows meanwhile
            return ()
        config, token = self.allowed(config, token)
        with self.turn(READING, counts=False), self.taking("rows"):  # starting the run counts
            return self.bench.badly_wrong(config, token)

    @property
    def tokenizing(self) -> int:
        return self.bench.tokenizing

    def _may_have(self, config: RunConfig, token: Token) -> bool:
        """Whether the visitor may use this model, and so see its tokens. What is wrong with it is said when it is used:
        rows can be looked at without."""
        try:
            self.check_model(config.model, token)
        except Problem:
            return False
        return True

    def has_checked(self, config: RunConfig) -> bool:
        return self.owns("rows") and self.bench.has_checked(config)

    def shows_rows_of(self, config: RunConfig) -> bool:
        return self.owns("rows") and self.bench.shows_rows_of(config)

    def stop_reading(self) -> None:
        if self.is_doing:
            self.bench.stop_reading()

    # Probing

    @property
    def probing(self):
        return self.bench.probing if self.owns("probe") else self.blank("probe")

    def probe(self, config: RunConfig, token: Token = None):
        return self._measured(self.bench.probe, config, token)

    def find_batch(self, config: RunConfig, token: Token = None):
        return self._measured(self.bench.find_batch, config, token)

    def _measured(self, measure, config: RunConfig, token: Token):
        config, token = self.allowed(config, token)
        with self.turn(PROBING), self.taking("probe", "rows"):
            return measure(config, token)

    def stop_probe(self) -> None:
        if self.is_doing:
            self.bench.stop_probe()

    # Training

    @property
    def snapshot(self) -> Snapshot | None:
        return self._house.last_run(self.visitor)

    @property
    def _is_in_progress(self) -> bool:
        now = self.bench.snapshot
        return self.bench.is_training and now is not None and self.owns_run(now.run_id)

    @property
    def is_training(self) -> bool:
        """Whether a run of this visitor is in progress, or waits for its turn."""
        return self._is_in_progress or self._house.queue.of(self.visitor) is not None

    @property
    def start_waits_for(self) -> str:
        if self.policy.waiting:
            return mark("your run is in progress") if self.is_training else ""
        return self.busy_with

    @property
    def trouble(self) -> str:
        return self.bench.trouble if self._is_in_progress else ""

    def start(self, config: RunConfig, name: str = "", token: Token = None, preset: str = "") -> Run:
        config, token = self.allowed(config, token)
        self._check_free()

        def make() -> Waiting:
            run = create_run(self.runs_dir, str(name)[:200], config, self.visitor, str(preset)[:200])
            return Waiting(run, lambda: self.bench.start(config, run.name, token, run))

        return self._house.begin(self.visitor, make)

    def resume(self, run_id: str, token: Token = None) -> Run:
        run, token = self.runs.open(run_id), self.token(token)
        config = run.config()
        self.policy.check_settings(config)
        self.check_model(config.model, token)
        self._check_free()
        if run.snapshot().status == "completed":
            raise RunError(
                "Run {run} is complete; to train it further, start a run that continues from it.", run=run.id
            )
        return self._house.begin(self.visitor, lambda: Waiting(run, lambda: self.bench.resume(run.id, token)))

    def _check_free(self) -> None:
        if self._is_in_progress:
            raise Busy("One of your runs is in progress; stop it, or wait until it has ended.")

    def stop(self) -> bool:
        return self._house.leave_queue(self.visitor) or self._is_in_progress and self.bench.stop()
