"""The validation loss as a mean over tokens.

The trainer's own is a mean over batches, each of which has the mean over its tokens: a short row then counts as much as
a long one, unless they are in the same batch, so the same weights have another loss with another batch size.
"""

from core.data.prepared.tokens import UNTRAINED


def with_loss_per_token(trainer_class: type) -> type:
    """A subclass of a transformers Trainer whose `eval_loss` is the mean over all trained tokens of the rows."""

    class WithLossPerToken(trainer_class):
        def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
            self._loss_sum, self._trained_tokens = 0.0, 0
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            output.metrics[f"{metric_key_prefix}_loss"] = self._loss_sum / max(self._trained_tokens, 1)
            return output

        def prediction_step(self, model, inputs, *args, **kwargs):
            loss, logits, labels = super().prediction_step(model, inputs, *args, **kwargs)
            tokens = int((inputs["labels"][..., 1:] != UNTRAINED).sum())  # the first token is never predicted
            if tokens:  # otherwise the loss is NaN or zero, depending on the backend
                self._loss_sum += float(loss) * tokens
                self._trained_tokens += tokens
            return loss, logits, labels

    return WithLossPerToken
