"""One module for each subject: from what was observed to findings. Pure."""
