"""Why a value cannot be used for a setting, in a few words: those of pydantic, in the person's language."""

from pydantic_core import ErrorDetails

from core.problems import mark, tr, trn

# pydantic's messages for the errors that settings can have, by error type. Each completes a sentence.
REASONS = {
    "bool_parsing": mark("input should be a valid boolean, unable to interpret input"),
    "bool_type": mark("input should be a valid boolean"),
    "finite_number": mark("input should be a finite number"),
    "float_parsing": mark("input should be a valid number, unable to parse string as a number"),
    "float_type": mark("input should be a valid number"),
    "greater_than": mark("input should be greater than {gt:.15g}"),
    "greater_than_equal": mark("input should be greater than or equal to {ge:.15g}"),
    "int_from_float": mark("input should be a valid integer, got a number with a fractional part"),
    "int_parsing": mark("input should be a valid integer, unable to parse string as an integer"),
    "int_parsing_size": mark("unable to parse input string as an integer, exceeded maximum size"),
    "int_type": mark("input should be a valid integer"),
    "less_than": mark("input should be less than {lt:.15g}"),
    "less_than_equal": mark("input should be less than or equal to {le:.15g}"),
    "list_type": mark("input should be a valid list"),
    "literal_error": mark("input should be {expected}"),
    "model_type": mark("input should be a valid dictionary or instance of {class_name}"),
    "string_type": mark("input should be a valid string"),
    "string_unicode": mark("input should be a valid string, unable to parse raw data as a unicode string"),
}


def reason_of(fault: ErrorDetails) -> str:
    """What pydantic, or a validator of ours, says of a value, with a small first letter and no full stop."""
    kind, values = fault["type"], dict(fault.get("ctx", {}))
    if kind == "literal_error":  # 'a', 'b' or 'c'
        values["expected"] = values["expected"].replace(" or ", tr(" or "))
    if kind in REASONS:
        return tr(REASONS[kind], **values)
    if kind == "string_too_short":
        return trn(
            "string should have at least {count} character",
            "string should have at least {count} characters",
            values["min_length"],
        )
    if kind == "too_short":
        return trn(
            "list should have at least {count} item after validation, not {found}",
            "list should have at least {count} items after validation, not {found}",
            values["min_length"],
            found=values["actual_length"],
        )
    if kind == "too_long":
        return trn(
            "list should have at most {count} item after validation, not {found}",
            "list should have at most {count} items after validation, not {found}",
            values["max_length"],
            found=values["actual_length"],
        )
    words = fault["msg"].removeprefix("Value error, ")  # of a validator of ours, which are translated
    return words[:1].lower() + words[1:]
