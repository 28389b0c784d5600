"""What jupyter_resume costs and what it keeps, beside its peers, in one run: see README.md."""
