"""What users see of a training: history, plots, summaries."""
