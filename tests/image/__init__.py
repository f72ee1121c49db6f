"""``make test-image``: provisions a Debian root file system for real and watches cron keep a worker alive in it."""
