"""Tables, plots and pages of all studies: one writer of each."""
