"""What autograd keeps for the backward pass, counted."""


def bytes_saved(model, ids, autocast: bool = True) -> int:
    """The bytes of all tensors but the model's own weights that a step on the tokens `ids` keeps."""
    import torch

    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other takes its place
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept),
        torch.autocast("cpu", torch.bfloat16, autocast),
    ):
        model.train()(input_ids=ids, labels=ids)
    return sum(size for size, _ in saved.values())
