"""The machine image of the app tier: what it holds, how it is provisioned and baked, and what runs at its boot."""
