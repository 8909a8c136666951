"""Which rules apply to the messages of a mailbox, and the facts that takes."""
