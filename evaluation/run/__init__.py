"""What every measurement runs on: codecs made once, tasks over processes, results kept as they come."""
