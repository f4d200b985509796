"""What `keras-prelu convert` survives: damaged files, killed processes, full disks. Run
`python -m tools.fuzz`."""
