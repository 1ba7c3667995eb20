"""Where scans come from: files, tables and folders of public data sets are recognised, labelled and read."""
