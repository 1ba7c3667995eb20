"""The networks, each behind a small interface of ours: encode and decode, embed conditions, denoise."""
