"""What all tools share: command-line options, worker processes, stored results, and reports."""
