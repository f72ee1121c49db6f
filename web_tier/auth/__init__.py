"""Authentication and authorization: identities, scopes, sessions, rate limits and quotas."""
