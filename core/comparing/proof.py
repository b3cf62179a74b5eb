"""The proof that the base is unchanged and that the tuned model differs from it, from the logits of one fixed prompt.

When a model is loaded, before it has any adapter, its logits are hashed. Later they are hashed again with the adapter
off and with it on. So you can check that the base is the same, bit for bit, without loading it twice.
"""

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from core.disk.tolerant_reading import Unreadable, read_text
from core.model.fingerprint import hash_of, prompt_logits, undisturbed
from core.model.loaded_model import LoadedModel
from core.model.views import for_inference
from core.model.weight_changes import Moved, moved
from core.problems import tr
from core.runs.adapter_ref import Pane

PROOF_FILE = "proof.json"  # in a run's folder


class Proof(BaseModel):
    """The result for the adapter `pane` (`core.runs.adapter_ref.Pane.key`), made at `made` in seconds since 1970.

    The hashes are SHA-256 of all logits of the fixed prompt, which has `tokens` tokens, as float32. `base_before` was
    taken when the model was loaded, and is None if it was loaded together with an adapter. `difference` is the largest
    difference between a logit of base and of tuned. The file also says whether they are equal, for its readers.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    pane: str
    made: float = Field(default_factory=time.time, ge=0, le=1e11)
    tokens: int = Field(ge=1)
    base_before: str | None
    base_now: str
    tuned: str
    difference: float
    moved: Moved

    @computed_field
    @property
    def base_is_equal(self) -> bool | None:
        """Whether the base gives the same logits as when it was loaded; None without a hash from then."""
        return None if self.base_before is None else self.base_before == self.base_now

    @computed_field
    @property
    def tuned_differs(self) -> bool:
        return self.tuned != self.base_now

    def sentences(self) -> list[tuple[str, str]]:
        """The conclusions, each as its kind (good, warning or error) and a sentence."""
        return [self._of_the_base(), self._of_the_tuned()]

    def _of_the_base(self) -> tuple[str, str]:
        if self.base_is_equal is None:
            return "warning", tr(
                "There is no earlier hash of the base to compare with, because the base was loaded together with an "
                "adapter. Load the run again, then prove it."
            )
        if self.base_is_equal:
            return "good", tr(
                "The base is unchanged, bit for bit: with the adapter off it gives exactly the logits that it gave "
                "when it was loaded, before it had any adapter."
            )
        return "error", tr(
            "The base has changed since it was loaded: with the adapter off it gives different logits, so you cannot "
            "trust what is shown as the base. Load the run again; if this happens again, report it as a bug."
        )

    def _of_the_tuned(self) -> tuple[str, str]:
        if self.tuned_differs:
            return "good", tr(
                "The tuned model differs from the base: for the same prompt, logits differ by up to {difference:.3g}.",
                difference=self.difference,
            )
        if self.moved.is_nothing:
            return "warning", tr(
                "The tuned model equals the base: all logits are the same, because the adapter changes no weight. "
                "Train it longer or with a higher learning rate."
            )
        return "warning", tr(
            "The tuned model equals the base: all logits are the same, because the adapter's changes do not reach "
            "them. Train it longer or with a higher learning rate."
        )


def prove_adapter(loaded: LoadedModel, adapter: str, pane: Pane) -> Proof:
    """Compares the loaded base with itself and with the adapter of that PEFT name, which is the adapter of `pane`."""
    with undisturbed(loaded), for_inference(loaded):
        base, tuned = prompt_logits(loaded, None), prompt_logits(loaded, adapter)
        changed = moved(loaded, adapter)
    return Proof(
        pane=pane.key,
        tokens=len(base),
        base_before=loaded.fingerprint,
        base_now=hash_of(base),
        tuned=hash_of(tuned),
        difference=float((tuned - base).abs().max()),
        moved=changed,
    )


def load_proof(run_dir: Path) -> Proof | None:
    """The proof saved with the run; None when there is none, or when it cannot be read."""
    try:
        return Proof.model_validate_json(read_text(run_dir / PROOF_FILE))
    except (Unreadable, ValidationError):
        return None
