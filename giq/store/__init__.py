"""Parquet in and out: runs, journals, the benchmark database. The only owner of pyarrow and pandas."""
