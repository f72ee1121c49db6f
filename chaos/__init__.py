"""The proof that nothing is lost: photos flow through a real stack while faults are injected."""
