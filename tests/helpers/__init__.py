"""What tests share: toy data, toy models, and programs that tests start as processes of their own."""
