"""Small pages with one planted fault each: what the site's checks must not let through."""
