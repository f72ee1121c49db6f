"""``make audit``: compare every lock with the published advisories for Python packages."""
