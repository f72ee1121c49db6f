"""Protection of the HTTP surface: request origin, host names, response headers, bind address, audit log."""
