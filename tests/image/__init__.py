"""``make test-image``: provision a real Debian root file system, boot it, and check the worker that cron runs in it."""
