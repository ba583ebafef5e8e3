"""What several studies share: records, claims, statistics, blocks, plots."""
