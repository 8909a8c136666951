"""Why a message is treated as it is, or was; and the tests that hold rules to it."""
