"""What Unsloth cannot train, as sentences with the way out; for warnings before a run and errors at its start."""

from core.problems import mark

# On a GPU it freezes everything except LoRA and whole copies (unsloth_zoo 2026.10.9, training_utils.py,
# prepare_model_for_training).
NO_SINGLE_ROWS_ON_A_GPU = mark(
    "On a GPU Unsloth does not train single rows of the embeddings: set Embedding rows to train to all, or leave "
    "embed_tokens and lm_head out under Fully trained layers."
)
