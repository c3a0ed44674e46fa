"""The real page in a real Chromium, with a real broker and a real command line beside it."""
