"""Inside IPython: which notebook this is, the magics, and the live view."""
