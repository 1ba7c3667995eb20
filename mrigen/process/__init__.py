"""What a process of ours keeps to: torch on one thread, an orderly end where it is asked to stop, and a lease on the
folder that it works in, so that no two work in one."""
