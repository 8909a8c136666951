"""What was decided is done: through the journal, in sets, leaving last."""
