"""Parquet in and out: the only owner of pyarrow and pandas."""
