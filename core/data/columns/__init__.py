"""What the columns of a dataset are for: detected from their names and contents, or chosen by the person."""
