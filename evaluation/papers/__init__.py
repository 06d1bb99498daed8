"""Papers' figures and tables made again, with the paper's own numbers beside ours."""
