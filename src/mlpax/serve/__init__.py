"""Show a trained network to others: a report, a service."""
