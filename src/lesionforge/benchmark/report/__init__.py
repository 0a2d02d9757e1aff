"""The report of a benchmark: statistics, text, tables and figures."""
