"""Live objects against declared ones."""
