"""The tokenizer of a model that is not loaded, fetched in the background: enough to see rows as the model will.

At most one is kept, that of the model that was asked for last.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.hub_names import Token
from core.model.load import load_tokenizer
from core.model.loaded_model import TokenizerAlone
from core.problems import ModelError, Problem
from core.settings.sections import ModelConfig
from core.threads import Stopped, leave_if
from core.workbench.background_job import BackgroundJob, Outcome

RETRY_SECONDS = 30  # after a failure; pages look again as soon as one is reported


@dataclass(frozen=True)
class Tokenizing:
    """`wanted` names the model (`_key`): its tokenizer is being loaded, was loaded (`alone`), or cannot be. `number`
    counts those that were loaded, failed or were freed."""

    number: int = 0
    wanted: tuple = ()
    is_loading: bool = False
    alone: TokenizerAlone | None = None
    problem: Problem | None = None
    at: float = field(default_factory=time.monotonic)

    @property
    def is_enough(self) -> bool:
        """Whether loading it once more now would be for nothing."""
        has_just_failed = self.problem is not None and time.monotonic() - self.at < RETRY_SECONDS
        return self.is_loading or self.alone is not None or has_just_failed


class TokenizerJob:
    """`state` is replaced, never changed. `until_warm` waits while the libraries are being imported elsewhere: two
    threads that import them at once would get in each other's way."""

    def __init__(self, until_warm: Callable[[], object]):
        self._until_warm = until_warm
        self._job = BackgroundJob("tokenizer", Tokenizing(), _failed)

    @property
    def state(self) -> Tokenizing:
        return self._job.state

    def at_hand(self, config: ModelConfig) -> TokenizerAlone | None:
        """The tokenizer, if it is the one that is kept."""
        state = self.state
        return state.alone if state.wanted == _key(config) else None

    def begin(self, config: ModelConfig, token: Token = None) -> None:
        """Loads it in the background, unless it is there, is being loaded, or has just failed to load."""
        wanted = _key(config)
        with self._job.changed:
            if self.state.wanted == wanted and self.state.is_enough:
                return
            self._job.state = Tokenizing(self.state.number, wanted, is_loading=True)
            self._job.start(lambda: self._load(config, token), lambda outcome: self._ended(wanted, outcome), token)

    def wait_for(self, config: ModelConfig, token: Token = None) -> TokenizerAlone:
        """The tokenizer, once it is loaded. Raises ModelError, and Stopped after `stop`."""
        self.begin(config, token)
        wanted = _key(config)
        self._job.wait_for(lambda state: state.wanted != wanted or not state.is_loading)
        state = self.state
        if state.wanted != wanted or (state.alone is None and state.problem is None):
            raise Stopped  # or another page has asked for another one meanwhile
        return _unwrapped(state, config)

    def now(self, config: ModelConfig) -> TokenizerAlone:
        """The tokenizer. Raises ModelError where it is not loaded, with the reason."""
        state = self.state
        return _unwrapped(state if state.wanted == _key(config) else Tokenizing(), config)

    def stop(self) -> None:
        """Asks the loading to stop; it does so between two parts of a download."""
        if self.state.is_loading:
            self._job.stop()

    def forget(self) -> None:
        """Frees it."""
        with self._job.changed:
            if not self.state.is_loading:
                self._become(())

    def _become(self, wanted: tuple, **more) -> None:
        self._job.state = Tokenizing(self.state.number + 1, wanted, **more)

    def _load(self, config: ModelConfig, token: Token) -> TokenizerAlone:
        self._until_warm()
        return load_tokenizer(config, token, lambda text, share: leave_if(self._job.should_stop))

    def _ended(self, wanted: tuple, outcome: Outcome[TokenizerAlone]) -> None:
        outcome.print_unexpected()
        with self._job.changed:
            if self.state.wanted == wanted:  # else another one is wanted by now
                self._become(wanted, alone=outcome.result, problem=outcome.problem)


def _unwrapped(state: Tokenizing, config: ModelConfig) -> TokenizerAlone:
    if state.problem is not None:
        raise state.problem
    if state.alone is None:
        raise ModelError(
            "The tokenizer of {model} is being loaded; it decides what the model sees.", model=config.model_name
        )
    return state.alone


def _key(config: ModelConfig) -> tuple:
    return config.model_name, config.revision, config.trust_remote_code, config.chat_template


def _failed(reason: str) -> Problem:
    return ModelError("The tokenizer could not be loaded: {reason}.", reason=reason)
