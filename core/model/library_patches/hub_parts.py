"""Private parts of the Hugging Face client; see `core.model.library_patches`."""

from collections.abc import Callable


def count_uploaded_bytes(sent: Callable[[int], None]) -> None:
    """From now on calls `sent` with each number of bytes that an upload has sent, or found on the hub, in any thread.

    For huggingface_hub 1.33.0, whose `upload_folder` takes no callback. With hf_xet it counts in a display that is only
    drawn on a terminal, and without it in a bar for each file. What is sent again after a broken connection is counted
    only once. tests/export/test_hub.py uploads in both ways.
    """
    from huggingface_hub import _upload_pipeline
    from huggingface_hub.utils import tqdm

    def callback_of_a_commit(display) -> Callable:
        before = 0

        def callback(group, items) -> None:
            nonlocal before
            sent(max(group.total_bytes_completed - before, 0))
            before = max(group.total_bytes_completed, before)

        return callback

    def update(bar: tqdm, n: float | None = 1) -> None:
        if bar.unit == "B":
            sent(min(bar.n + n, bar.total) - min(bar.n, bar.total))
        drawn(bar, n)

    drawn = tqdm.update
    tqdm.update = update
    _upload_pipeline._LiveDisplay.new_xet_callback = callback_of_a_commit
