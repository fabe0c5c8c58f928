"""What a trained model is worth: predictions, scores, tables and pictures."""
