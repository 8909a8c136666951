"""The worker: every mailbox of every account watched until it is told to stop."""
