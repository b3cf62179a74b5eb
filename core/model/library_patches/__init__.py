"""Everything in core that relies on private or undocumented parts of the training libraries, one function for each.

Each docstring says what the function does, and after "For" the library and version it was written for and why it is
needed. tests/model/test_library_patches.py checks on the real libraries that these parts still exist and behave as
assumed: after updating a library, run it first.
"""
