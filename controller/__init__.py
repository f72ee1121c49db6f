"""The controller: keeps as many app-tier instances running as the backlog needs."""
