"""Where scans come from: what a user has on disk, or the embedded phantom cohort."""
