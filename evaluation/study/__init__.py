"""What studies of a codec share: pictures, sends that are decoded in batches, parts and their files, tables, plots."""
