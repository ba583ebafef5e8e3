"""Modules that several studies share: records, claims, statistics, reading in blocks, tables, plots."""
