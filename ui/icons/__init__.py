"""The icon of the program, and the pictures that are made from it."""
