"""Training on simulated scans (needs ``petechia[train]``). Nothing else imports this package."""
