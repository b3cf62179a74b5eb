"""Proves that an adapter changes the model and that its base is unchanged, and keeps the proof with the run."""

from core.comparing.proof import PROOF_FILE, Proof, prove_adapter
from core.disk.atomic import write_whole
from core.runs.adapter_ref import BASE
from core.runs.run_folder import Run
from core.threads import in_own_thread
from core.workbench.desk import PROVING
from core.workbench.model_access import ModelAccess


def prove(lab: ModelAccess, run: Run, step: int | None = None) -> Proof:
    """Compares the base with the adapter of `run`, or with that of its checkpoint of `step`, and writes proof.json
    into the run's folder.

    Raises Busy, RunError, ModelError, and OSError when the file cannot be written.
    """
    pane = lab.pane_of(run, step)
    with lab.using([BASE, pane], PROVING) as (loaded, (_, name)):
        proof = in_own_thread(lambda: prove_adapter(loaded, name, pane))
        loaded.is_doubtful = proof.base_is_equal is False
    write_whole(run.folder / PROOF_FILE, proof.model_dump_json(indent=2) + "\n")
    return proof
