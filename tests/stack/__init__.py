"""The CloudFormation stack on the emulator: linted, scanned, created, used, updated and deleted."""
