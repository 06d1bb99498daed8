"""The two proxies of the emulator, which forward LinkService and FeedbackService as bytes."""
