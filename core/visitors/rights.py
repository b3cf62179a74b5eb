"""What is a visitor's own, and what the policy allows them: checked before anything is done.

A token is the visitor's own or none: that of this machine is never used for them.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager

from core.answering.sampling import Sampling
from core.data.prepared.prepare import hub_name
from core.hub_names import Token, checked_token, exact_name
from core.problems import NotAllowed, RunError
from core.settings.run_config import RunConfig
from core.settings.sections import DataConfig, ModelConfig
from core.visitors.policy import is_row_of_a_preset
from core.visitors.visit_parts import VisitRuns

CHECKPOINT = re.compile(r"([^/]+)(?:/checkpoints/step-\d+)?")


class Rights:
    """`house` has what all visitors share (`core.visitors.visits.Visits`), and `visitor` names this one."""

    def __init__(self, house, visitor: str):
        self._house, self.visitor, self.bench, self.policy = house, visitor, house.bench, house.policy
        self.runs = VisitRuns(self)

    # What is whose

    def turn(self, doing: str, counts: bool = True) -> AbstractContextManager[None]:
        return self._house.turn(self.visitor, doing, counts)

    def wait_while(self, doing: str) -> None:
        """Waits until no visitor is doing that."""
        self._house.wait_while(doing)

    def age(self, part: str) -> float:
        """How many seconds ago the last one began, whoever owns it."""
        return self._house.age(part)

    def owns(self, part: str) -> bool:
        return self._house.owns(part, self.visitor)

    def taking(self, *parts: str) -> AbstractContextManager[None]:
        return self._house.taking(self.visitor, *parts)

    def owns_run(self, run_id: str) -> bool:
        return bool(run_id) and self._house.owner_of(run_id) == self.visitor

    @property
    def owns_model(self) -> bool:
        return self._house.owns_model(self.visitor)

    @property
    def is_doing(self) -> bool:
        """Whether it is this visitor who does something now."""
        return self._house.holder == self.visitor

    def blank(self, part: str):
        return self._house.blank[part]

    # What is allowed

    def token(self, token: Token) -> Token:
        """The visitor's own token; False for none, so that no library looks for one on this machine."""
        return checked_token(token) or False

    def check_model(self, config: ModelConfig, token: Token) -> None:
        """Raises NotAllowed."""
        if self.policy.check_model(config):
            name = exact_name(config.model_name, config.load_in_4bit)
            self._house.hub.check(name, "model", config.revision if name == config.model_name else None, token)

    def check_upload(self, path: str) -> None:
        """Raises NotAllowed unless it is a file that this visitor uploaded."""
        self._house.uploads.check(self.visitor, path)

    def check_data(self, data: DataConfig, token: Token) -> None:
        """Raises NotAllowed unless the rows are a preset's, the visitor's uploads, or a dataset they may read."""
        for path in filter(None, (data.path, data.validation_path)):
            if name := hub_name(path):
                if not self.policy.from_hub:
                    raise NotAllowed(
                        "{name:.80} cannot be used on this page; choose the preset's rows, or upload a file.", name=name
                    )
                self._house.hub.check(name, "dataset", data.revision, token)
                continue
            for line in filter(None, map(str.strip, path.splitlines())):
                if not is_row_of_a_preset(line):
                    self.check_upload(line)

    def allowed(self, config: RunConfig, token: Token) -> tuple[RunConfig, Token]:
        """The settings with the adapter to continue from by its id, and the token. Raises NotAllowed and RunError."""
        token = self.token(token)
        self.policy.check_settings(config)
        if wanted := config.adapter.continue_from:
            adapter = config.adapter.model_copy(update={"continue_from": self._own_adapter(wanted)})
            config = config.model_copy(update={"adapter": adapter})
        self.check_model(config.model, token)
        self.check_data(config.data, token)
        return config, token

    def _own_adapter(self, wanted: str) -> str:
        """The id of the visitor's own run, or the place of its checkpoint, that `wanted` names. Raises RunError."""
        rows, found = self.runs.rows(fresh=True), CHECKPOINT.fullmatch(wanted)
        if found and any(row.id == found[1] for row in rows):
            return wanted
        for row in rows:
            if wanted in (row.name, row.preset) and row.has_adapter and row.status == "completed":
                return row.id
        raise RunError(
            "This run continues from {wanted!r:.80}, but you have no completed run with that name; train it first.",
            wanted=wanted,
        )

    def check_asked(self, sampling: Sampling, texts: Sequence[str]) -> None:
        """Raises NotAllowed when too much is asked."""
        if sampling.max_new_tokens > self.policy.new_tokens:
            raise NotAllowed("An answer can have {most:,} tokens on this page.", most=self.policy.new_tokens)
        if sum(map(len, texts)) > self.policy.characters:
            raise NotAllowed("{most:,} characters can be asked at once on this page.", most=self.policy.characters)
