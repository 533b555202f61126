"""Results as terminal text, HTML and plots. They show what others found and decide nothing."""
