"""What people look at: contact sheets as PNG, and single-file HTML pages that need no network."""
