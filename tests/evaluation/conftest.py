"""What the tests of evaluation share: a model that has learned its rows."""

import pytest

from tests.conftest import small_config, train_for

# A loss of 0.08; at the usual rate of these tests it stays at 1.0, and more steps may unlearn the end of the answer.
LEARNS_SURELY = (
    "training.max_steps=60",
    "training.learning_rate=0.003",
    "model.load_in_4bit=no",
    "model.dtype=float32",
)


@pytest.fixture(scope="session")
def in_float32(unsloth, stories, rows, tmp_path_factory):
    """A tuned model in 32-bit that has learned to answer "the cat".

    In 16-bit or 4-bit, likeliest tokens are often equally likely to the last bit, and which of them comes first depends
    on the machine and on the number of rows in a batch; here none are.
    """
    config = small_config(stories, rows, *LEARNS_SURELY)
    loaded, _, _ = train_for(config, tmp_path_factory.mktemp("learned") / "adapter")
    return loaded
