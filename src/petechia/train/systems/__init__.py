"""The four published systems: each network, its loss and its training in one file that reads alone."""
