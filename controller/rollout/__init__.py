"""Rolling updates: a pure state machine and the record that it advances."""
