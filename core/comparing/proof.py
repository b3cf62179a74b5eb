"""The proof that base is base and tuned is tuned, from one fixed prompt. Knows nothing of gradio or of training.

When a model is loaded, before any adapter is on it, its logits are hashed; later the same is done with the adapter
off and with it on. So nothing has to be loaded twice to see whether the base is still the base, bit for bit.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field

from core.disk.tolerant_reading import Unreadable, read_text
from core.model.fingerprint import hash_of, prompt_logits, undisturbed
from core.model.loaded_model import LoadedModel
from core.model.views import for_inference
from core.model.weight_changes import Moved, moved
from core.runs.adapter_ref import Pane

if TYPE_CHECKING:  # what loads the model asks for its fingerprint, and the lab stands on that
    pass

FILE = "proof.json"


class Proof(BaseModel):
    """What was found, of the adapter `pane` (`core.runs.adapter_ref.Pane.key`) at `made`, in seconds since 1970.

    Hashes are SHA-256 of all logits of the fixed prompt, `tokens` of them long, as float32. `base_before` was taken
    when the model was loaded, None when that was together with an adapter. `difference` is the largest between a logit
    of base and of tuned. Whether they are equal is written into the file too, for whoever reads only that.
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
        """None when there is nothing to compare with."""
        return None if self.base_before is None else self.base_before == self.base_now

    @computed_field
    @property
    def tuned_differs(self) -> bool:
        return self.tuned != self.base_now

    def sentences(self) -> list[tuple[str, str]]:
        """What it comes to, each with its kind: good, warning or error."""
        return [self._of_the_base(), self._of_the_tuned()]

    def _of_the_base(self) -> tuple[str, str]:
        if self.base_is_equal is None:
            return "warning", (
                "The base cannot be compared with itself: it was loaded together with an adapter, so there is no hash "
                "from before; load the run again and prove it then."
            )
        if self.base_is_equal:
            return "good", (
                "The base is the base, bit for bit: with the adapter off it gives the very logits that it gave when it "
                "was loaded, before any adapter was on it."
            )
        return "error", (
            "The base is not what it was when it was loaded: with the adapter off its logits are others, so what is "
            "shown as base cannot be trusted; load the run again, and if this stays, report it as a fault."
        )

    def _of_the_tuned(self) -> tuple[str, str]:
        if self.tuned_differs:
            return "good", f"Tuned differs from it: by up to {self.difference:.3g} in a logit of the same prompt."
        why = "the adapter changes no weight" if self.moved.is_nothing else "what it changes does not reach the answer"
        way_out = "train it longer or at a higher rate"
        return "warning", f"The tuned model is the base: all logits are equal, as {why}; {way_out}."


def compared(loaded: LoadedModel, adapter: str, pane: Pane) -> Proof:
    """The proof for the adapter of that PEFT name, which is that of `pane`."""
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
    """The one kept with the run; None when there is none, or none that can be read."""
    try:
        return Proof.model_validate_json(read_text(run_dir / FILE))
    except (Unreadable, ValidationError):
        return None
