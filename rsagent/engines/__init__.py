"""Where experts run: one interface (`base`), several engines."""
