"""Protection of the HTTP surface: request origin, response headers, bind address, audit log."""
