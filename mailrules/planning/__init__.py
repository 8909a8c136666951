"""`plan` and `apply`: the rules over the mail that is there now."""
