"""Rows from files: CSV, TSV, JSON, JSONL, Parquet and text, in any common encoding, compressed or not."""
