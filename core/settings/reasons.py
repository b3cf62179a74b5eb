"""Why a value cannot be used for a setting, in a few plain words for what pydantic found."""

from pydantic_core import ErrorDetails

from core.problems import mark, tr, trn

# By pydantic's type of the error, for all that settings can have. Each completes a sentence.
REASONS = {
    "bool_parsing": mark("it must be true or false"),
    "bool_type": mark("it must be true or false"),
    "finite_number": mark("it must be a finite number"),
    "float_parsing": mark("it must be a number"),
    "float_type": mark("it must be a number"),
    "greater_than": mark("it must be above {gt:,.15g}"),
    "greater_than_equal": mark("it must be at least {ge:,.15g}"),
    "int_from_float": mark("it must be a whole number"),
    "int_parsing": mark("it must be a whole number"),
    "int_parsing_size": mark("it must be a number with fewer digits"),
    "int_type": mark("it must be a whole number"),
    "less_than": mark("it must be below {lt:,.15g}"),
    "less_than_equal": mark("it must be at most {le:,.15g}"),
    "list_type": mark("it must be a list"),
    "literal_error": mark("it must be {expected}"),
    "model_type": mark("it must be a section with settings of its own"),
    "string_type": mark("it must be text"),
    "string_unicode": mark("it must be text in UTF-8"),
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
            "it must have at least {count} character",
            "it must have at least {count} characters",
            values["min_length"],
        )
    if kind == "too_short":
        return trn(
            "it must have at least {count} item, not {found}",
            "it must have at least {count} items, not {found}",
            values["min_length"],
            found=values["actual_length"],
        )
    if kind == "too_long":
        return trn(
            "it must have at most {count} item, not {found}",
            "it must have at most {count} items, not {found}",
            values["max_length"],
            found=values["actual_length"],
        )
    words = fault["msg"].removeprefix("Value error, ")  # of a validator of ours, which are translated
    return words[:1].lower() + words[1:]
