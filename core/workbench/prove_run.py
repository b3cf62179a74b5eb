from core.comparing.proof import FILE, Proof, compared
from core.disk.atomic import write_whole
from core.fresh_thread import in_own_thread
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import Run
from core.workbench.lab import Lab

PROVING = "base and tuned are being proved"


def prove(lab: Lab, run: Run, step: int | None = None) -> Proof:
    """Proves base and the adapter of `run`, or that of its checkpoint of `step`, and keeps it as the run's proof.json.

    Raises Busy, RunError, ModelError, and OSError when it cannot be written.
    """
    pane = Pane(run.id, step)
    with lab.using([BASE, pane], PROVING) as (loaded, (_, name)):
        proof = in_own_thread(lambda: compared(loaded, name, pane))
        loaded.is_doubtful = proof.base_is_equal is False
    write_whole(run.folder / FILE, proof.model_dump_json(indent=2) + "\n")
    return proof
