"""From scans to the training images of `data/`: a survey of the scans, what goes with pathology though it is none
(confounds), groups of scans that share an image file, those files, and what the run's `data/` holds in the end."""
