"""Units of sizes in bytes."""

GIB = 1024**3
