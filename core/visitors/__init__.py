"""A page without login that others can reach: what visitors may do there, and what they see of it.

`Policy` says what is allowed. `Visits` has what all visitors share, and `Visit` is the workbench as one visitor sees
it: a page asks it in place of `core.workbench.workbench.Workbench`.
"""
