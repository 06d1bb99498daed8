"""The commands of `gocom`, one file each."""
