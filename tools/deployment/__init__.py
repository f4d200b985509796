"""What exported networks compute and cost in their runtimes, and what PReLU does to int8. Run
`python -m tools.deployment`."""
