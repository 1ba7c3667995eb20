"""From the scans of a source to the training images of `data/`: survey, confounds, parts of many scans, closing."""
