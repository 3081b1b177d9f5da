"""Tables and pictures of what a ledger holds; nothing here touches training."""
